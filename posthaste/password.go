package main

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// scramIterations is RFC 7677's minimum, and what Dovecot uses.
const scramIterations = 4096

// hashPassword makes a password-file value that serves both SCRAM-SHA-256 and
// plaintext mechanisms: {SCRAM-SHA-256}iterations,salt,StoredKey,ServerKey
// (RFC 5802, section 3; Dovecot's notation).
func hashPassword(password string) (string, error) {
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, scramIterations, sha256.Size)
	if err != nil {
		return "", err
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("{SCRAM-SHA-256}%d,%s,%s,%s", scramIterations, b64(salt), b64(stored[:]), b64(mac("Server Key"))), nil
}
