package mimepart

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
)

// Charset kinds that need no table.
type kind int

const (
	kindUnknown kind = iota
	kindUTF8         // and US-ASCII
	kindUTF7
	kindTable
)

// charset finds a charset by any of its usual names. GB2312 and GBK are read
// as GB18030, which contains them, since mail says the one and means the other.
func charset(name string) (encoding.Encoding, kind) {
	name = strings.ToLower(strings.TrimSpace(name))
	if i := strings.IndexByte(name, '*'); i >= 0 { // RFC 2231's language
		name = name[:i]
	}
	switch name {
	case "", "us-ascii", "ascii", "utf-8", "utf8", "ansi_x3.4-1968", "iso646-us", "unicode-1-1-utf-8", "default", "x-unknown", "unknown-8bit":
		return nil, kindUTF8
	case "utf-7", "utf7", "unicode-1-1-utf-7", "x-unicode-2-0-utf-7":
		return nil, kindUTF7
	}
	if e := eastAsian(name); e != nil {
		return e, kindTable
	}
	if e := western(name); e != nil {
		return e, kindTable
	}
	return nil, kindUnknown
}

func eastAsian(name string) encoding.Encoding {
	switch name {
	case "gb2312", "gb_2312-80", "gb_2312", "gb2312-80", "csgb2312", "csiso58gb231280", "iso-ir-58", "chinese", "euc-cn", "euccn", "x-euc-cn",
		"gbk", "x-gbk", "cp936", "ms936", "windows-936", "csgbk", "gb18030", "gb-18030", "gb18030-2000", "gb18030-2005", "gb18030-2022", "csgb18030":
		return simplifiedchinese.GB18030
	case "hz-gb-2312", "hz", "hz-gb2312", "cshzgb2312":
		return simplifiedchinese.HZGB2312
	case "big5", "big-5", "big5-hkscs", "big5hkscs", "big5-eten", "cn-big5", "csbig5", "x-x-big5", "cp950", "ms950", "windows-950":
		return traditionalchinese.Big5
	case "iso-2022-jp", "iso-2022-jp-1", "iso-2022-jp-2", "iso-2022-jp-ms", "csiso2022jp", "cp50220", "cp50221":
		return japanese.ISO2022JP
	case "shift_jis", "shift-jis", "sjis", "x-sjis", "ms_kanji", "csshiftjis", "windows-31j", "cp932", "ms932", "cswindows31j":
		return japanese.ShiftJIS
	case "euc-jp", "eucjp", "x-euc-jp", "cseucpkdfmtjapanese", "eucjp-ms":
		return japanese.EUCJP
	case "euc-kr", "euckr", "ks_c_5601-1987", "ks_c_5601-1989", "ksc5601", "ksc_5601", "korean", "cp949", "ms949", "uhc", "windows-949", "cseuckr":
		return korean.EUCKR
	}
	return nil
}

// western finds single-octet charsets and UTF-16 and UTF-32.
func western(name string) encoding.Encoding {
	name = strings.TrimPrefix(name, "x-")
	switch name {
	case "utf-16", "utf16", "ucs-2", "iso-10646-ucs-2":
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	case "utf-16be", "utf16be":
		return unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	case "utf-16le", "utf16le":
		return unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
	case "koi8-r", "koi8", "cskoi8r", "koi":
		return charmap.KOI8R
	case "koi8-u", "koi8-ru":
		return charmap.KOI8U
	case "macintosh", "mac", "mac-roman":
		return charmap.Macintosh
	case "mac-cyrillic", "mac-ukrainian":
		return charmap.MacintoshCyrillic
	case "latin1", "l1", "iso_8859-1", "iso88591", "8859-1", "iso8859-1", "iso-8859-1", "cp819", "ibm819":
		return charmap.Windows1252 // whose printable octets contain it
	case "latin9", "latin-9", "iso-8859-15", "iso8859-15", "iso_8859-15":
		return charmap.ISO8859_15
	case "tis-620", "tis620", "iso-8859-11", "iso8859-11":
		return charmap.Windows874
	}
	for _, p := range [...]string{"iso-8859-", "iso_8859-", "iso8859-", "iso8859_"} {
		if rest, ok := strings.CutPrefix(name, p); ok {
			return iso8859(rest)
		}
	}
	for _, p := range [...]string{"windows-", "cp-", "cp", "ibm", "ibm-", "win-", "win"} {
		if rest, ok := strings.CutPrefix(name, p); ok {
			if e := codePage(rest); e != nil {
				return e
			}
		}
	}
	return nil
}

func iso8859(n string) encoding.Encoding {
	switch n {
	case "2":
		return charmap.ISO8859_2
	case "3":
		return charmap.ISO8859_3
	case "4":
		return charmap.ISO8859_4
	case "5":
		return charmap.ISO8859_5
	case "6", "6-i", "6-e":
		return charmap.ISO8859_6
	case "7":
		return charmap.ISO8859_7
	case "8", "8-i", "8-e":
		return charmap.ISO8859_8
	case "9":
		return charmap.Windows1254
	case "10":
		return charmap.ISO8859_10
	case "13":
		return charmap.ISO8859_13
	case "14":
		return charmap.ISO8859_14
	case "16":
		return charmap.ISO8859_16
	}
	return nil
}

func codePage(n string) encoding.Encoding {
	switch n {
	case "037":
		return charmap.CodePage037
	case "437":
		return charmap.CodePage437
	case "850":
		return charmap.CodePage850
	case "852":
		return charmap.CodePage852
	case "855":
		return charmap.CodePage855
	case "858":
		return charmap.CodePage858
	case "860":
		return charmap.CodePage860
	case "862":
		return charmap.CodePage862
	case "863":
		return charmap.CodePage863
	case "865":
		return charmap.CodePage865
	case "866":
		return charmap.CodePage866
	case "874":
		return charmap.Windows874
	case "1047":
		return charmap.CodePage1047
	case "1140":
		return charmap.CodePage1140
	case "1250":
		return charmap.Windows1250
	case "1251":
		return charmap.Windows1251
	case "1252":
		return charmap.Windows1252
	case "1253":
		return charmap.Windows1253
	case "1254":
		return charmap.Windows1254
	case "1255":
		return charmap.Windows1255
	case "1256":
		return charmap.Windows1256
	case "1257":
		return charmap.Windows1257
	case "1258":
		return charmap.Windows1258
	}
	return nil
}

// KnownCharset tells whether text in a charset can be decoded.
func KnownCharset(name string) bool {
	_, k := charset(name)
	return k != kindUnknown
}

// ToUTF8 converts text. Text in an unknown charset, or one that is not what it
// claims, is taken for UTF-8 if it is valid as that, otherwise for GB18030,
// which unlabelled 8-bit mail usually is here, with replacement characters
// where it is neither. It may return text itself.
func ToUTF8(name string, text []byte) []byte {
	e, k := charset(name)
	switch k {
	case kindUTF7:
		return utf7(text)
	case kindTable:
		if out, err := e.NewDecoder().Bytes(text); err == nil {
			return out
		}
	}
	if utf8.Valid(text) {
		return text
	}
	out, err := simplifiedchinese.GB18030.NewDecoder().Bytes(text)
	if err != nil {
		return []byte(strings.ToValidUTF8(string(text), "\ufffd"))
	}
	return out
}

// utf7 decodes RFC 2152; what is malformed stays as it is.
func utf7(in []byte) []byte {
	out := make([]byte, 0, len(in))
	for i := 0; i < len(in); i++ {
		if in[i] != '+' {
			out = append(out, in[i])
			continue
		}
		j := i + 1
		for j < len(in) && (in[j] == '+' || in[j] == '/' || '0' <= in[j] && in[j] <= '9' || 'A' <= in[j]&^0x20 && in[j]&^0x20 <= 'Z') {
			j++
		}
		raw, err := base64.RawStdEncoding.DecodeString(string(in[i+1 : j]))
		switch {
		case j == i+1 && j < len(in) && in[j] == '-':
			out = append(out, '+')
		case err != nil && len(raw) < 2:
			out = append(out, in[i:j]...)
		default:
			u := make([]uint16, len(raw)/2)
			for k := range u {
				u[k] = uint16(raw[2*k])<<8 | uint16(raw[2*k+1])
			}
			for _, r := range utf16.Decode(u) {
				out = utf8.AppendRune(out, r)
			}
		}
		if j < len(in) && in[j] == '-' {
			j++
		}
		i = j - 1
	}
	return out
}
