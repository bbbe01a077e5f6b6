package sasl

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// keys is a Verifier with one user's keys.
type keys ScramKeys

func (k keys) Verify(user, password string) (string, error) { return "", ErrMismatch }
func (k keys) Scram(user, hash string) (ScramKeys, error)   { return ScramKeys(k), nil }
func decode(s string) []byte                                { b, _ := base64.StdEncoding.DecodeString(s); return b }
func next(s Server, in string) (out string, done bool, err error) {
	b, done, err := s.Next([]byte(in))
	return string(b), done, err
}

// The examples of RFC 5802, section 5, and RFC 7677, section 3.
func TestScramExamples(t *testing.T) {
	for _, tt := range []struct {
		mech, nonce                    string
		keys                           ScramKeys
		first, challenge, final, proof string
	}{
		{"SCRAM-SHA-1", "3rfcNHYJY1ZVvWVs7j",
			ScramKeys{decode("QSXCR+Q6sek8bf92"), 4096, decode("6dlGYMOdZcOPutkcNY8U2g7vK9Y="), decode("D+CSWLOshSulAsxiupA+qs2/fTE=")},
			"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
			"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
			"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
			"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="},
		{"SCRAM-SHA-256", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
			ScramKeys{decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096, decode("WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="), decode("wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")},
			"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
	} {
		for _, tampered := range []bool{false, true} {
			s, ok := NewServer(tt.mech, keys(tt.keys), nil)
			if !ok {
				t.Fatal(tt.mech)
			}
			sc := s.(*scramServer)
			sc.srv.WithNonceGenerator(func() string { return tt.nonce })
			if got, _, err := next(s, tt.first); err != nil || got != tt.challenge {
				t.Fatalf("%s: %q, %v", tt.mech, got, err)
			}
			final := tt.final
			if tampered {
				final = strings.Replace(final, "c=biws", "c=eSws", 1) // "y,,"
			}
			got, done, err := next(s, final)
			if tampered {
				if done || !errors.Is(err, ErrCredentials) {
					t.Errorf("%s: tampered with: %v", tt.mech, err)
				}
			} else if err != nil || !done || got != tt.proof || s.User() != "user" {
				t.Errorf("%s: %q %v %v", tt.mech, got, done, err)
			}
		}
	}
}

// FuzzServer holds that no mechanism succeeds without the password, whatever
// comes.
func FuzzServer(f *testing.F) {
	f.Add(uint8(0), "\x00u\x00p", "", true)
	f.Add(uint8(2), "p=tls-exporter,,n=u,r=x", "c=biws,r=x,p=AA==", true)
	f.Add(uint8(4), "y,,n=u,r=x", "c=eSws,r=x,p=AA==", false)
	mechs := []string{"PLAIN", "LOGIN", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1"}
	k := keys(ScramKeys{[]byte("salt"), 4096, make([]byte, 32), make([]byte, 32)})
	f.Fuzz(func(t *testing.T, m uint8, one, two string, bound bool) {
		var b Bindings
		if bound {
			b = Bindings{"tls-exporter": []byte("x")}
		}
		s, _ := NewServer(mechs[int(m)%len(mechs)], k, b)
		for _, in := range []string{one, two} {
			_, done, err := next(s, in)
			if done {
				t.Fatalf("%q %q: success", one, two)
			}
			if err != nil {
				if !errors.Is(err, ErrCredentials) && !errors.Is(err, ErrMessage) {
					t.Fatal(err)
				}
				return
			}
		}
	})
}
