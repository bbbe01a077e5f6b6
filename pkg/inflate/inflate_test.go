package inflate

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// steps is a source that gives one piece a Read, and an error behind them.
type steps struct {
	list [][]byte
	err  error
}

func (s *steps) Read(p []byte) (int, error) {
	if len(s.list) == 0 {
		return 0, s.err
	}
	n := copy(p, s.list[0])
	if s.list[0] = s.list[0][n:]; len(s.list[0]) == 0 {
		s.list = s.list[1:]
	}
	return n, nil
}

var errWait = errors.New("would wait")

// TestFlushes: what came before a flush is given out without waiting for more.
// The pieces are zlib's, made with Z_PARTIAL_FLUSH.
func TestFlushes(t *testing.T) {
	noop, sel, fetch, logout := "1 NOOP\r\n", "2 SELECT INBOX\r\n", strings.Repeat("3 UID FETCH 1:* (UID FLAGS)\r\n", 3), "4 LOGOUT\r\n"
	for _, c := range []struct {
		name         string
		pieces, want []string
	}{
		{"fast", []string{"3254f0f3f70fe0e50208", "20238560571f57e710054f3f27ff085e2e8000", "325608f5745170730d71f65030b4d252d000737d1cdd833529910408", "2013051f7f77ffd0105e2e8000"}, []string{noop, sel, fetch, logout}},
		{"usual", []string{"3254f0f3f70fe0e50208", "20238560571f57e710054f3f27ff085e2e8000", "325608f5745170730d71f65030b4d252d000737d1cdd833529910408", "2013051f7f77ffd0105e2e8000"}, []string{noop, sel, fetch, logout}},
		{"fixed trees", []string{"3254f0f3f70fe0e50208", "20238560571f57e710054f3f27ff085e2e8000", "325608f5745170730d71f65030b4d252d000737d1cdd833529910408", "2013051f7f77ffd0105e2e8000"}, []string{noop, sel, fetch, logout}},
	} {
		src := &steps{err: errWait}
		z := NewReader(src)
		for i, p := range c.pieces {
			b, err := hex.DecodeString(p)
			if err != nil {
				t.Fatal(err)
			}
			src.list = append(src.list, b)
			var got []byte
			buf := make([]byte, 7)
			for {
				n, err := z.Read(buf)
				got = append(got, buf[:n]...)
				if err != nil {
					if err != errWait {
						t.Fatalf("%s: %v", c.name, err)
					}
					break
				}
			}
			if string(got) != c.want[i] {
				t.Errorf("%s, piece %d: got %q, want %q", c.name, i, got, c.want[i])
			}
		}
	}
}

// texts are of different kinds, so that all kinds of blocks occur.
func texts() map[string][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	var words bytes.Buffer
	for words.Len() < 300_000 {
		words.WriteString([]string{"meeting", "minutes", "FETCH", "\r\n", "会议", " "}[rng.IntN(6)])
	}
	return map[string][]byte{"nothing": nil, "one": []byte("x"), "noise": noise, "words": words.Bytes(), "zeros": make([]byte, 200_000),
		"mixed": append(append([]byte(nil), words.Bytes()[:70_000]...), noise[:50_000]...)}
}

func TestRoundTrip(t *testing.T) {
	for name, text := range texts() {
		for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, flate.BestSpeed, flate.BestCompression} {
			var b bytes.Buffer
			w, _ := flate.NewWriter(&b, level)
			for i := 0; i < len(text); i += 10_000 {
				w.Write(text[i:min(i+10_000, len(text))])
				w.Flush()
			}
			w.Close()
			for how, src := range map[string]io.Reader{"at once": bytes.NewReader(b.Bytes()), "octet by octet": iotest.OneByteReader(bytes.NewReader(b.Bytes()))} {
				got, err := io.ReadAll(NewReader(src))
				if err != nil || !bytes.Equal(got, text) {
					t.Errorf("%s, level %d, %s: %d octets, %v; want %d", name, level, how, len(got), err, len(text))
				}
			}
		}
	}
}

func TestEndsEarly(t *testing.T) {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression)
	w.Write(texts()["words"][:5000])
	w.Close()
	for n := range b.Len() {
		if _, err := io.ReadAll(NewReader(bytes.NewReader(b.Bytes()[:n]))); err != io.ErrUnexpectedEOF {
			t.Fatalf("the first %d of %d octets: %v", n, b.Len(), err)
		}
	}
}

// FuzzReader: the same octets as compress/flate, and an error where it has one,
// however the input is cut.
func FuzzReader(f *testing.F) {
	for _, text := range texts() {
		for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, flate.BestSpeed, flate.BestCompression} {
			var b bytes.Buffer
			w, _ := flate.NewWriter(&b, level)
			w.Write(text[:min(len(text), 3000)])
			w.Close()
			f.Add(b.Bytes(), byte(level))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, cut byte) {
		limit := int64(1 << 20)
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(in)), limit))
		k := min(int(cut), len(in))
		got, err := io.ReadAll(io.LimitReader(NewReader(&steps{list: [][]byte{in[:k:k], in[k:]}, err: io.EOF}), limit))
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%x: %v, compress/flate has %v", in, err, wantErr)
		}
		if err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%x: %q, compress/flate has %q", in, got, want)
		}
		again, _ := io.ReadAll(io.LimitReader(NewReader(iotest.OneByteReader(bytes.NewReader(in))), limit))
		if !bytes.Equal(got, again) {
			t.Fatalf("%x: octet by octet %q, at once %q", in, again, got)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	var packed bytes.Buffer
	text := texts()["words"]
	w, _ := flate.NewWriter(&packed, flate.BestSpeed)
	w.Write(text)
	w.Close()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		io.Copy(io.Discard, NewReader(bytes.NewReader(packed.Bytes())))
	}
}
