package lookup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"go.elara.ws/pcre"
	"go.elara.ws/pcre/lib"
	"modernc.org/libc"
)

// Limits of one PCRE2 match, in the library's units of work and depth. A
// pattern that needs more is an error, not a stuck program.
const (
	matchLimit = 200000
	depthLimit = 20000
)

// backtracking is a pattern of PCRE2. The library is called directly: the
// wrapper that comes with it loses matches of an empty string, which is what a
// pattern made of a look-ahead gives.
type backtracking struct {
	mu    sync.Mutex
	tls   *libc.TLS
	code  uintptr
	mctx  uintptr
	count int
}

func compileBacktracking(expr string, opts pcre.CompileOption) (m matcher, err error) {
	defer func() {
		if r := recover(); r != nil {
			m, err = nil, fmt.Errorf("%v", r)
		}
	}()
	tls := libc.NewTLS()
	text, err := libc.CString(expr)
	if err != nil {
		tls.Close()
		return nil, err
	}
	defer libc.Xfree(tls, text)
	out := libc.Xmalloc(tls, 16)
	if out == 0 {
		tls.Close()
		return nil, errors.New("out of memory")
	}
	defer libc.Xfree(tls, out)
	opts |= pcre.UTF | pcre.MatchInvalidUTF | pcre.NeverBackslashC
	code := lib.Xpcre2_compile_8(tls, text, lib.Tsize_t(len(expr)), uint32(opts), out, out+8, 0)
	if code == 0 {
		b := libc.GoBytes(out, 16)
		err := fmt.Errorf("error in regex at offset %d: %s", binary.NativeEndian.Uint32(b[8:]), pcreMessage(tls, int32(binary.NativeEndian.Uint32(b))))
		tls.Close()
		return nil, err
	}
	p := &backtracking{tls: tls, code: code, mctx: lib.Xpcre2_match_context_create_8(tls, 0)}
	lib.Xpcre2_set_match_limit_8(tls, p.mctx, matchLimit)
	lib.Xpcre2_set_depth_limit_8(tls, p.mctx, depthLimit)
	lib.Xpcre2_pattern_info_8(tls, code, lib.DPCRE2_INFO_CAPTURECOUNT, out)
	p.count = int(binary.NativeEndian.Uint32(libc.GoBytes(out, 4)))
	runtime.SetFinalizer(p, func(p *backtracking) {
		lib.Xpcre2_match_context_free_8(p.tls, p.mctx)
		lib.Xpcre2_code_free_8(p.tls, p.code)
		p.tls.Close()
	})
	return p, nil
}

func pcreMessage(tls *libc.TLS, code int32) string {
	const size = 256
	buf := libc.Xmalloc(tls, size)
	if buf == 0 {
		return fmt.Sprintf("error %d", code)
	}
	defer libc.Xfree(tls, buf)
	if n := lib.Xpcre2_get_error_message_8(tls, code, buf, size); n > 0 {
		return string(libc.GoBytes(buf, int(n)))
	}
	return fmt.Sprintf("error %d", code)
}

func (m *backtracking) groups() int { return m.count }

func (m *backtracking) match(s string, groups bool) (ok bool, sub []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer runtime.KeepAlive(m)
	defer func() {
		if r := recover(); r != nil {
			ok, sub, err = false, nil, fmt.Errorf("match failed: %v", r)
		}
	}()
	text, err := libc.CString(s)
	if err != nil {
		return false, nil, err
	}
	defer libc.Xfree(m.tls, text)
	md := lib.Xpcre2_match_data_create_from_pattern_8(m.tls, m.code, 0)
	if md == 0 {
		return false, nil, errors.New("out of memory")
	}
	defer lib.Xpcre2_match_data_free_8(m.tls, md)
	ret := lib.Xpcre2_match_8(m.tls, m.code, text, lib.Tsize_t(len(s)), 0, 0, md, m.mctx)
	if ret == lib.DPCRE2_ERROR_NOMATCH {
		return false, nil, nil
	}
	if ret < 0 {
		return false, nil, errors.New("match failed: " + pcreMessage(m.tls, ret))
	}
	if groups {
		sub = make([]string, m.count+1)
		pairs := min(int(lib.Xpcre2_get_ovector_count_8(m.tls, md)), len(sub))
		b := libc.GoBytes(lib.Xpcre2_get_ovector_pointer_8(m.tls, md), pairs*2*wordSize)
		for i := 0; i < pairs; i++ {
			a, z := wordAt(b, 2*i), wordAt(b, 2*i+1)
			if a <= z && z <= uint64(len(s)) {
				sub[i] = s[a:z]
			}
		}
	}
	return true, sub, nil
}

// wordSize is the size of the library's offsets, in bytes.
const wordSize = 4 << (^uintptr(0) >> 63)

func wordAt(b []byte, i int) uint64 {
	if wordSize == 4 {
		return uint64(binary.NativeEndian.Uint32(b[i*4:]))
	}
	return binary.NativeEndian.Uint64(b[i*8:])
}
