package imapwire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParser(t *testing.T) {
	for _, c := range []struct {
		name, in string
		take     func(p *Parser) any
		want     any
		bad      string
	}{
		{"atom", "abc ", func(p *Parser) any { return string(p.Atom()) }, "abc", ""},
		{"keyword", "uid]", func(p *Parser) any { return p.Keyword() }, "UID", ""},
		{"astring with bracket", "a]b", func(p *Parser) any { return string(p.AString()) }, "a]b", ""},
		{"quoted", `"a b"`, func(p *Parser) any { return string(p.String()) }, "a b", ""},
		{"escapes", `"a\"b\\"`, func(p *Parser) any { return string(p.String()) }, `a"b\`, ""},
		{"empty quoted", `""`, func(p *Parser) any { return string(p.AString()) }, "", ""},
		{"bad escape", `"a\x"`, func(p *Parser) any { return string(p.String()) }, "", "escape"},
		{"NUL in quoted", "\"a\x00\"", func(p *Parser) any { return string(p.String()) }, "", "control"},
		{"open quoted", `"abc`, func(p *Parser) any { return string(p.String()) }, "", "without end"},
		{"literal", "{3}\r\na\"b", func(p *Parser) any { return string(p.AString()) }, `a"b`, ""},
		{"literal plus", "{3+}\r\nabc", func(p *Parser) any { return string(p.String()) }, "abc", ""},
		{"short literal", "{4}\r\nabc", func(p *Parser) any { return string(p.String()) }, "", "octets"},
		{"NUL in literal", "{1}\r\n\x00", func(p *Parser) any { return string(p.String()) }, "", "NUL"},
		{"huge literal", "{9223372036854775808}\r\n", func(p *Parser) any { return string(p.String()) }, "", "too large"},
		{"number", "4294967295", func(p *Parser) any { return p.Number() }, uint32(4294967295), ""},
		{"large number", "4294967296", func(p *Parser) any { return p.Number() }, uint32(0), "too large"},
		{"long number", strings.Repeat("9", 1000), func(p *Parser) any { return p.Number64() }, uint64(0), "too large"},
		{"date", "1-Feb-1994", func(p *Parser) any { return p.Date().Format("2006-01-02") }, "1994-02-01", ""},
		{"no date", "30-Feb-1994", func(p *Parser) any { return p.Date().IsZero() }, false, "bad date"},
		{"date-time", `" 7-Jul-1996 02:44:25 -0700"`, func(p *Parser) any { return p.DateTime().Unix() }, int64(836732665), ""},
		{"date-time without digits", `"17-Jul-1996 02:44:25 -07x0"`, func(p *Parser) any { return p.DateTime().IsZero() }, true, "bad date"},
		{"flags", `(\Seen $Junk a)`, func(p *Parser) any { return p.FlagList() }, []string{`\Seen`, "$Junk", "a"}, ""},
		{"no flags", `()`, func(p *Parser) any { return p.FlagList() }, []string(nil), ""},
		{"set", "1,3:5,*", func(p *Parser) any { return p.Set(false).Resolve(9) }, []Range{{1, 1}, {3, 5}, {9, 9}}, ""},
		{"set backwards and joined", "5:3,1:2,4", func(p *Parser) any { return p.Set(false).Resolve(9) }, []Range{{1, 5}}, ""},
		{"star below", "12:*", func(p *Parser) any { return p.Set(false).Resolve(9) }, []Range{{9, 12}}, ""},
		{"star of nothing", "*", func(p *Parser) any { return p.Set(false).Resolve(0) }, []Range{}, ""},
		{"zero in set", "0:3", func(p *Parser) any { return p.Set(false).Ranges }, []Range(nil), "0 in a set"},
		{"saved", "$", func(p *Parser) any { return p.Set(true).Saved }, true, ""},
		{"set of garbage", "1,,2", func(p *Parser) any { return p.Set(true).Ranges }, []Range(nil), "number"},
		{"many ranges", strings.Repeat("1,", MaxRanges) + "1", func(p *Parser) any { return p.Set(true).Ranges }, []Range(nil), "ranges"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewParser([]byte(c.in))
			got := c.take(p)
			if c.bad != "" {
				if p.Err() == nil || !strings.Contains(p.Err().Error(), c.bad) {
					t.Fatalf("error %v, want %q", p.Err(), c.bad)
				}
				return
			}
			if p.Err() != nil {
				t.Fatal(p.Err())
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %#v, want %#v", got, c.want)
			}
		})
	}
}

func TestDepth(t *testing.T) {
	var nest func(p *Parser)
	nest = func(p *Parser) {
		if p.Peek() == '(' {
			p.List(func() { nest(p) })
			return
		}
		p.Atom()
	}
	for _, c := range []struct {
		depth int
		ok    bool
	}{{MaxDepth, true}, {MaxDepth + 1, false}, {10000, false}} {
		p := NewParser([]byte(strings.Repeat("(", c.depth) + "a" + strings.Repeat(")", c.depth)))
		nest(p)
		p.End()
		if (p.Err() == nil) != c.ok {
			t.Errorf("depth %d: %v", c.depth, p.Err())
		}
	}
}

func TestReader(t *testing.T) {
	limits := Limits{Line: 64, Literal: 20, Command: 100}
	long := strings.Repeat("x", 100)
	for _, c := range []struct {
		name, in string
		want     []string // commands, or errors in brackets
		conts    int
	}{
		{"lines", "a NOOP\r\nb NOOP\n", []string{"a NOOP\r\n", "b NOOP\n"}, 0},
		{"literal", "a X {3}\r\na\r\n y\r\nb NOOP\r\n", []string{"a X {3}\r\na\r\n y\r\n", "b NOOP\r\n"}, 1},
		{"literals", "a {2+}\r\nab{1+}\r\nc\r\nb NOOP\r\n", []string{"a {2+}\r\nab{1+}\r\nc\r\n", "b NOOP\r\n"}, 0},
		{"long line", "a " + long + "\r\nb NOOP\r\n", []string{"[command line too long]", "b NOOP\r\n"}, 0},
		{"long line with literal", "a " + long + " {5+}\r\nb X\r\n\r\nc NOOP\r\n", []string{"[command line too long]", "c NOOP\r\n"}, 0},
		{"large literal", "a {21}\r\nb NOOP\r\n", []string{"[literal too large]", "b NOOP\r\n"}, 0},
		{"large literal plus", "a {25+}\r\n" + long[:25] + " {3+}\r\nabc\r\nb NOOP\r\n", []string{"[literal too large]", "b NOOP\r\n"}, 0},
		{"literal of 2^63", "a {9223372036854775808}\r\nb NOOP\r\n", []string{"[literal too large]", "b NOOP\r\n"}, 0},
		{"literal plus of 2^63", "a {9223372036854775808+}\r\nb NOOP\r\n", []string{"[literal far too large]"}, 0},
		{"command", strings.Repeat("{20+}\r\n"+long[:20], 5) + "\r\nb NOOP\r\n", []string{"[command too long]", "b NOOP\r\n"}, 0},
		{"streamed", "a APPEND x {5}\r\nhello\r\nb NOOP\r\n", []string{"a APPEND x ", "<hello>", "\r\n", "b NOOP\r\n"}, 0},
	} {
		for _, split := range []string{"whole", "octets"} {
			t.Run(c.name+" "+split, func(t *testing.T) {
				var src io.Reader = strings.NewReader(c.in)
				if split == "octets" {
					src = iotest.OneByteReader(src)
				}
				conts := 0
				r := &Reader{R: bufio.NewReaderSize(src, 16), Limits: limits,
					Continue: func() error { conts++; return nil },
					Stream:   func(cmd []byte, _ Literal) bool { return bytes.HasPrefix(cmd, []byte("a APPEND")) },
				}
				var got []string
				for {
					cmd, lit, err := r.ReadCommand()
					if err == io.EOF {
						break
					}
					for err == nil && lit != nil {
						b := make([]byte, lit.Size)
						io.ReadFull(r.R, b)
						got = append(got, string(cmd), "<"+string(b)+">")
						cmd, lit, err = r.ReadMore()
					}
					if err != nil {
						got = append(got, "["+err.Error()+"]")
						if errors.Is(err, ErrFlood) || errors.Is(err, io.ErrUnexpectedEOF) {
							break
						}
						continue
					}
					got = append(got, string(cmd))
				}
				if !reflect.DeepEqual(got, c.want) {
					t.Errorf("got %q\nwant %q", got, c.want)
				}
				if conts != c.conts {
					t.Errorf("%d continuation requests, want %d", conts, c.conts)
				}
			})
		}
	}
}

func TestUTF7(t *testing.T) {
	for _, c := range []struct{ utf8, wire string }{
		{"INBOX", "INBOX"}, {"a&b", "a&-b"}, {"Entwürfe", "Entw&APw-rfe"}, {"会议", "&TxqLrg-"}, {"~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"},
		{"😀", "&2D3eAA-"}, {"", ""},
	} {
		if got := EncodeUTF7(c.utf8); got != c.wire {
			t.Errorf("encode %q: %q, want %q", c.utf8, got, c.wire)
		}
		if got, err := DecodeUTF7(c.wire); err != nil || got != c.utf8 {
			t.Errorf("decode %q: %q, %v", c.wire, got, err)
		}
	}
	for _, bad := range []string{"&", "&AC4ALg-", "&Jjo!", "a\x00", "&2D0-", "ü", "&TxqLrgA-", "&AGE-"} {
		if got, err := DecodeUTF7(bad); err == nil {
			t.Errorf("decode %q: %q, want an error", bad, got)
		}
	}
}

func TestStrings(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"a b", `"a b"`}, {`"\`, `"\"\\"`}, {"ü", "{2}\r\nü"}, {"a\r\nb", "{4}\r\na\r\nb"}, {"a\x00b", `"ab"`}, {"\x00", `""`}, {"", `""`},
	} {
		if got := string(AppendString(nil, c.in)); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

// FuzzCommand: whatever a client sends, however it is split, gives the same
// commands; what is written is read back.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{"a NOOP\r\n", "a X {3}\r\nabc (a b \"c\")\r\n", "a {99999999999999999999}\r\n", "a APPEND b {1+}\r\nx {2}\r\nxy\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		run := func(src io.Reader) (out []string) {
			r := &Reader{R: bufio.NewReaderSize(src, 16), Limits: Limits{Line: 80, Literal: 30, Command: 200}}
			for len(out) < 1000 {
				cmd, _, err := r.ReadCommand()
				out = append(out, string(cmd))
				if err != nil {
					out = append(out, err.Error())
					if !errors.Is(err, ErrLineTooLong) && !errors.Is(err, ErrLiteralTooLong) && !errors.Is(err, ErrCommandTooLong) {
						return out
					}
				}
				p := NewParser(cmd)
				p.Tag()
				for p.More() {
					before := len(p.Rest())
					switch p.Peek() {
					case '(':
						p.Open()
					case ')':
						p.Close()
					case ' ':
						p.SP()
					default:
						s := p.AString()
						if p.Err() == nil && bytes.IndexByte(s, 0) < 0 {
							q := NewParser(append(AppendString(nil, s), "\r\n"...))
							if back := q.String(); q.Err() != nil || !bytes.Equal(back, s) {
								t.Fatalf("%q came back as %q, %v", s, back, q.Err())
							}
						}
					}
					if p.Err() == nil && len(p.Rest()) >= before {
						t.Fatal("no progress")
					}
				}
			}
			return out
		}
		a, b := run(bytes.NewReader(in)), run(iotest.OneByteReader(bytes.NewReader(in)))
		if !reflect.DeepEqual(a, b) {
			t.Errorf("split input differs: %q, %q", a, b)
		}
	})
}

// FuzzSet: a resolved set is in order, without overlap, and means what was said.
func FuzzSet(f *testing.F) {
	f.Add("1,3:5,*", uint32(9))
	f.Add("4294967295:1", uint32(0))
	f.Fuzz(func(t *testing.T, in string, largest uint32) {
		p := NewParser([]byte(in))
		s := p.Set(false)
		r := s.Resolve(largest)
		for i, x := range r {
			if x.Lo > x.Hi || x.Lo == 0 || i > 0 && x.Lo <= r[i-1].Hi {
				t.Fatalf("%q: %v", in, r)
			}
		}
		for _, x := range s.Ranges {
			for _, n := range []uint32{x.Lo, x.Hi} {
				if n == Star {
					n = largest
				}
				if n != 0 && !Contains(r, n) {
					t.Fatalf("%q: %d is not in %v", in, n, r)
				}
			}
		}
	})
}

// FuzzUTF7: a name that can be read is written the same way.
func FuzzUTF7(f *testing.F) {
	f.Add("Entw&APw-rfe")
	f.Add("&2D3eAA-")
	f.Fuzz(func(t *testing.T, in string) {
		name, err := DecodeUTF7(in)
		if err == nil && EncodeUTF7(name) != in {
			t.Errorf("%q became %q and then %q", in, name, EncodeUTF7(name))
		}
	})
}
