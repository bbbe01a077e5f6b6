package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"posthaste/pkg/maildir/store"
	"posthaste/pkg/maillog"
)

// deaf is a connection that a client has written all of its input to.
type deaf struct {
	net.Conn
	in  *bytes.Reader
	out *bytes.Buffer
}

func (d deaf) Read(p []byte) (int, error)       { return d.in.Read(p) }
func (d deaf) Write(p []byte) (int, error)      { return d.out.Write(p) }
func (d deaf) SetReadDeadline(time.Time) error  { return nil }
func (d deaf) SetWriteDeadline(time.Time) error { return nil }
func (d deaf) SetDeadline(time.Time) error      { return nil }
func (d deaf) Close() error                     { return nil }

// FuzzSession: no input of a client's makes us panic, and every command line
// gets its tagged reply.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"FETCH 1:* (UID FLAGS BODY.PEEK[1.2.MIME]<0.5> BODY[HEADER.FIELDS (a b)] BINARY.SIZE[1] PREVIEW (LAZY)) (CHANGEDSINCE 1)",
		"UID SEARCH RETURN (MIN SAVE) CHARSET GBK OR NOT (SEEN 1:*) FROM x UID $ MODSEQ 5 YOUNGER 3",
		"SORT RETURN (COUNT) (REVERSE DATE DISPLAYFROM) UTF-8 TEXT \"a\"", "THREAD REFERENCES UTF-8 ALL",
		"LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (\"*\" %) RETURN (STATUS (SIZE) CHILDREN)",
		"STORE 1:2 (UNCHANGEDSINCE 4) -FLAGS.SILENT (\\Seen x)", "SELECT INBOX (QRESYNC (1 2 1:4 (1 1)))",
		"APPEND INBOX (\\Seen) \"17-Jul-1996 02:44:25 -0700\" {3+}\r\nabc UTF8 (~{1+}\r\nx)", "IDLE\r\nDONE", "COMPRESS DEFLATE",
		"ID (\"a\" NIL)", "ENABLE QRESYNC IMAP4rev2", "CREATE x/y (USE (\\Sent))", "UID MOVE 1 Sent", "GETQUOTAROOT INBOX", "EXPUNGE",
	} {
		f.Add([]byte(s))
	}
	m, err := store.NewManager(store.Options{Host: "host.test"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { m.Close() })
	root := f.TempDir() + "/Maildir"
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 10000 {
			return
		}
		st, err := m.Open(root, store.UserOptions{QuotaBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		input := "p1 APPEND INBOX {" + "5+}\r\nA: b\n\r\np2 SELECT INBOX\r\nz " + string(in) + "\r\n"
		conn := deaf{in: bytes.NewReader([]byte(input)), out: &bytes.Buffer{}}
		opt := &options{timeout: time.Minute, appendLimit: 1 << 16, log: maillog.New("imapd", failing{t})}
		s := newSession(context.Background(), opt, conn, nil, "anna", st)
		s.run()
		out := conn.out.String()
		if !strings.Contains(out, "p2 OK") {
			t.Fatalf("%q: %q", in, out)
		}
		whole := bytes.IndexAny(in, "\r\n{") < 0
		if whole && len(bytes.TrimSpace(in)) > 0 && !strings.Contains(out, "\r\nz ") && !strings.Contains(out, "idling") {
			t.Errorf("%q has no reply: %q", in, out)
		}
		io.Discard.Write(conn.out.Bytes())
	})
}
