package main

import (
	"bytes"

	"posthaste/pkg/mimepart"
)

// baseSubject takes what replies and forwards add away from a decoded subject,
// and folds it (RFC 5256, section 2.1). reply tells that something was.
func baseSubject(subject []byte) (base []byte, reply bool) {
	b := mimepart.Fold(nil, bytes.Join(bytes.Fields(subject), []byte(" ")))
	for {
		for { // (fwd) at the end
			t := bytes.TrimRight(b, " ")
			if u, ok := bytes.CutSuffix(t, []byte("(fwd)")); ok {
				b, reply = u, true
				continue
			}
			b = t
			break
		}
		for again := true; again; {
			again = false
			if rest, ok := cutLeader(b); ok {
				b, again, reply = rest, true, true
			} else if rest, ok := cutBlob(b); ok && len(bytes.TrimSpace(rest)) > 0 {
				b, again = rest, true
			}
			if len(b) > 0 && b[0] == ' ' {
				b, again = bytes.TrimLeft(b, " "), true
			}
		}
		if bytes.HasPrefix(b, []byte("[fwd:")) && bytes.HasSuffix(b, []byte("]")) {
			b, reply = b[5:len(b)-1], true
			continue
		}
		return bytes.TrimSpace(b), reply
	}
}

// cutBlob takes "[…] " from the front.
func cutBlob(b []byte) ([]byte, bool) {
	if len(b) == 0 || b[0] != '[' {
		return b, false
	}
	end := bytes.IndexByte(b, ']')
	if end < 0 || bytes.IndexByte(b[1:end], '[') >= 0 || bytes.HasPrefix(b, []byte("[fwd:")) {
		return b, false
	}
	return bytes.TrimLeft(b[end+1:], " "), true
}

// cutLeader takes "re:", "fw[blob]:" and the like from the front, with blobs
// before them.
func cutLeader(b []byte) ([]byte, bool) {
	t := b
	for {
		rest, ok := cutBlob(t)
		if !ok {
			break
		}
		t = rest
	}
	switch {
	case bytes.HasPrefix(t, []byte("re")):
		t = t[2:]
	case bytes.HasPrefix(t, []byte("fwd")):
		t = t[3:]
	case bytes.HasPrefix(t, []byte("fw")):
		t = t[2:]
	default:
		return b, false
	}
	t = bytes.TrimLeft(t, " ")
	if rest, ok := cutBlob(t); ok {
		t = rest
	}
	if len(t) == 0 || t[0] != ':' {
		return b, false
	}
	return t[1:], true
}
