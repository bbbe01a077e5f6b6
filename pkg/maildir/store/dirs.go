package store

import (
	"os"
	"strings"

	"posthaste/pkg/mailbox"
)

// inside marks directories of ours that are no folders.
const inside = ".posthaste-"

// folderDir returns the directory of a folder, whose name has been checked: a
// "." and the levels in modified UTF-7, joined by ".". A "." in a level is
// encoded. A folder that another program made in plain UTF-8 is found as well.
func folderDir(root, name string) (string, error) {
	if name == mailbox.Inbox {
		return root, nil
	}
	levels := strings.Split(name, "/")
	for i, l := range levels {
		levels[i] = mailbox.EncodeUTF7(l, ".")
	}
	base := "." + strings.Join(levels, ".")
	if len(base) > 255 || strings.HasPrefix(base, inside) {
		return "", mailbox.ErrName
	}
	dir := root + "/" + base
	if strings.Contains(base, "&") && !strings.Contains(strings.ReplaceAll(name, "/", ""), ".") {
		raw := root + "/." + strings.ReplaceAll(name, "/", ".")
		if _, err := os.Stat(dir); err != nil {
			if _, err := os.Stat(raw); err == nil {
				return raw, nil
			}
		}
	}
	return dir, nil
}

// folderName is the reverse; ok is false for what is no folder's directory.
func folderName(base string) (name string, ok bool) {
	if len(base) < 2 || base[0] != '.' || base == ".." || strings.HasPrefix(base, inside) {
		return "", false
	}
	levels := strings.Split(base[1:], ".")
	for i, l := range levels {
		if d, err := mailbox.DecodeUTF7(l); err == nil {
			levels[i] = strings.ReplaceAll(d, "/", "\x00")
		}
	}
	name, err := mailbox.CheckName(strings.Join(levels, "/"))
	return name, err == nil && name != mailbox.Inbox
}
