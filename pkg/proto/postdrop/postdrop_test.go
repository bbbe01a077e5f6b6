package postdrop

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"posthaste/pkg/envelope"
)

type sink struct {
	m     *envelope.Message
	rcpts []string
	data  bytes.Buffer
}

func (s *sink) Message(m *envelope.Message) error { s.m = m; return nil }
func (s *sink) Recipient(r *envelope.Recipient) error {
	s.rcpts = append(s.rcpts, r.Address)
	return nil
}
func (s *sink) Data(p []byte) error { s.data.Write(p); return nil }

func sample(content []byte) []byte {
	var b bytes.Buffer
	w := NewWriter(&b, &envelope.Message{Sender: "anna", FullName: "Anna"})
	w.Recipient(&envelope.Recipient{Address: "bert"})
	w.Recipient(&envelope.Recipient{Address: "c@d.test"})
	w.Write(content)
	if err := w.End(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	content := make([]byte, 100_000)
	for i := range content {
		content[i] = byte(i)
	}
	var s sink
	if err := Read(bytes.NewReader(sample(content)), &s); err != nil {
		t.Fatal(err)
	}
	if s.m.Sender != "anna" || len(s.rcpts) != 2 || !bytes.Equal(s.data.Bytes(), content) {
		t.Errorf("%+v, %q, %d bytes", s.m, s.rcpts, s.data.Len())
	}
}

func TestTruncated(t *testing.T) {
	b := sample([]byte("Subject: x\r\n\r\nhello\r\n"))
	for n := range b {
		if err := Read(bytes.NewReader(b[:n]), &sink{}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	if err := Read(bytes.NewReader(append(b, 'x')), &sink{}); !errors.Is(err, ErrFormat) {
		t.Errorf("data after the end: %v", err)
	}
}

func TestBad(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b, &envelope.Message{Sender: "a\nb"})
	w.End()
	if err := Read(&b, &sink{}); !errors.Is(err, ErrFormat) {
		t.Errorf("line break in the sender: %v", err)
	}
	for name, in := range map[string]string{
		"hello":          "GET / HTTP/1.0\r\n",
		"data first":     hello + "\x00\x00\x00\x01\x03x",
		"long frame":     hello + "\xff\x00\x00\x01\x01",
		"unknown":        hello + "\x00\x00\x00\x00\x09",
		"end first":      hello + "\x00\x00\x00\x00\x04",
		"empty envelope": hello + "\x00\x00\x00\x00\x01",
	} {
		if err := Read(bytes.NewReader([]byte(in)), &sink{}); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzPostdrop: whatever is accepted is valid.
func FuzzPostdrop(f *testing.F) {
	f.Add(sample([]byte("x\r\n")))
	f.Add([]byte(hello))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s sink
		if Read(bytes.NewReader(b), &s) == nil && (s.m == nil || s.m.Validate() != nil) {
			t.Error("accepted without a valid envelope")
		}
	})
}
