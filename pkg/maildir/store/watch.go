package store

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watch makes changes of the folder wake its sessions.
func (m *Manager) watch(f *folder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f.watched || m.closed {
		return
	}
	f.watched = true
	if !m.watching {
		m.watching = true
		var err error
		if m.watcher, err = fsnotify.NewBufferedWatcher(64); err != nil {
			m.logf("watching folders: %v: looking every %v instead", err, m.o.Poll)
			m.watcher = nil
		}
		m.done.Add(1)
		go m.loop()
	}
	if m.watcher != nil {
		for _, path := range f.watchPaths(f.where()) {
			if err := m.watcher.Add(path); err != nil {
				m.logf("watching %s: %v: looking every %v instead", path, err, m.o.Poll)
				break
			}
			f.watching = append(f.watching, path)
		}
	}
	// What happened before the watch began.
	m.later(f, 0)
}

// watchPaths are the files whose changes tell of changes of the folder, whose
// directory is dir. What other programs do with an mbox shows in the file itself;
// what other processes of ours do only in the index.
func (f *folder) watchPaths(dir string) []string {
	if f.mb == nil {
		return []string{dir + "/new", dir + "/cur"}
	}
	if !exists(f.mb.path) {
		return []string{dir, filepath.Dir(f.mb.path)}
	}
	return []string{dir, f.mb.path}
}

// unwatch ends what watch began. m.mu is held.
func (m *Manager) unwatch(f *folder) {
	for _, path := range f.watching {
		if m.watcher != nil {
			m.watcher.Remove(path)
		}
	}
	f.watching = nil
}

// loop looks at folders when something happens in them, and all watched ones
// now and then.
func (m *Manager) loop() {
	defer m.done.Done()
	tick := time.NewTicker(m.o.Poll)
	defer tick.Stop()
	var events chan fsnotify.Event
	var errs chan error
	if m.watcher != nil {
		events, errs = m.watcher.Events, m.watcher.Errors
	}
	hit := map[string]bool{}
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	for {
		select {
		case <-m.stop:
			return
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			if e.Op == fsnotify.Chmod {
				continue
			}
			if len(hit) == 0 {
				timer.Reset(quiet)
			}
			dir := filepath.Dir(e.Name)
			if b := filepath.Base(e.Name); b == "new" || b == "cur" {
				dir = e.Name // the directory itself went
			}
			hit[filepath.Dir(dir)] = true
			hit[e.Name] = true // an mbox, or what tells of one: see watchPaths
			hit[filepath.Dir(e.Name)] = true
		case err := <-errs:
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				m.checkAll(nil)
			}
		case <-timer.C:
			m.checkAll(hit)
			clear(hit)
		case <-tick.C:
			m.checkAll(nil)
			m.flushMboxes()
		}
	}
}

// checkAll looks at the watched folders, or those of them in dirs.
func (m *Manager) checkAll(dirs map[string]bool) {
	m.mu.Lock()
	var list []*folder
	for _, f := range m.folders {
		if f.watched && f.refs > 0 && (dirs == nil || dirs[f.key] || f.mb != nil && dirs[f.mb.path]) {
			f.refs++
			list = append(list, f)
		}
	}
	m.mu.Unlock()
	for _, f := range list {
		f.mu.Lock()
		f.check()
		f.mu.Unlock()
		m.release(f)
	}
}

// flushMboxes writes what watched mbox files lack, so that other programs see it
// while a session goes on for days.
func (m *Manager) flushMboxes() {
	m.mu.Lock()
	var list []*folder
	for _, f := range m.folders {
		if f.watched && f.refs > 0 && f.mb != nil {
			f.refs++
			list = append(list, f)
		}
	}
	m.mu.Unlock()
	for _, f := range list {
		f.mu.Lock()
		f.flushMbox()
		f.mu.Unlock()
		m.release(f)
	}
}

// recheck looks at a watched folder again when an uncertain look has settled.
func (m *Manager) recheck(f *folder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f.watched && f.refs > 0 && !f.recheck && !m.closed {
		m.later(f, m.settle+m.settle/10)
	}
}

// later checks f after d. m.mu is held.
func (m *Manager) later(f *folder, d time.Duration) {
	f.recheck = true
	f.refs++
	time.AfterFunc(d, func() {
		m.mu.Lock()
		f.recheck = false
		closed := m.closed
		if !closed {
			m.done.Add(1) // Close waits
		}
		m.mu.Unlock()
		if !closed {
			f.mu.Lock()
			f.check()
			f.mu.Unlock()
			m.done.Done()
		}
		m.release(f)
	})
}

// rewatch watches a folder under its new name. f.mu and m.mu are held.
func (m *Manager) rewatch(f *folder) {
	if !f.watched || m.watcher == nil {
		return
	}
	m.unwatch(f)
	for _, path := range f.watchPaths(f.dir) {
		if m.watcher.Add(path) == nil {
			f.watching = append(f.watching, path)
		}
	}
}
