package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"posthaste/pkg/config"
	"posthaste/pkg/envelope"
	"posthaste/pkg/params"
	"posthaste/pkg/proto/cleanup"
	"posthaste/pkg/proto/postdrop"
)

// sink takes one message: cleanup(8), or postdrop(1) in stand-alone mode.
type sink interface {
	Recipient(*envelope.Recipient) error
	Write([]byte) (int, error)
	End() (*cleanup.Result, error)
	Abort()
}

// drop hands a message of a stand-alone session (sendmail -bs) to postdrop(1),
// which works without rights of its own and while the mail system is down.
type drop struct {
	w     *postdrop.Writer
	trace []byte // still to be written
	in    *os.File
	out   *os.File
	proc  *os.Process
	took  func(id string)
}

// startDrop runs postdrop and starts a message with the given header; took is
// told the name under which it waits.
func startDrop(cfg *config.Config, m *envelope.Message, trace []byte, took func(id string)) (*drop, error) {
	path := filepath.Join(params.CommandDirectory.In(cfg), "postdrop")
	argv := []string{path, "-r"}
	if cfg.Dir() != config.DefaultDir {
		argv = append(argv, "-c", cfg.Dir())
	}
	rin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer rin.Close()
	out, wout, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, err
	}
	defer wout.Close()
	p, err := os.StartProcess(path, argv, &os.ProcAttr{Env: os.Environ(), Files: []*os.File{rin, wout, os.Stderr}})
	if err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	local := *m
	local.ID, local.Origin, local.Client = "", "pickup", envelope.Client{}
	return &drop{w: postdrop.NewWriter(in, &local), trace: trace, in: in, out: out, proc: p, took: took}, nil
}

func (d *drop) Recipient(r *envelope.Recipient) error { return d.w.Recipient(r) }

func (d *drop) Write(p []byte) (int, error) {
	d.begin()
	return d.w.Write(p)
}

// begin writes the header, which follows the recipients.
func (d *drop) begin() {
	d.w.Write(d.trace) // an error shows at the end
	d.trace = nil
}

// End completes the message. postdrop says on standard error why it refuses
// one, and in its exit status that it does.
func (d *drop) End() (*cleanup.Result, error) {
	d.begin()
	d.w.End() // an error shows in the exit status
	st, id, err := d.wait()
	if err != nil {
		return nil, err
	}
	switch st.ExitCode() {
	case 0:
		d.took(id)
		return &cleanup.Result{Status: cleanup.OK}, nil
	case 69:
		return &cleanup.Result{Status: cleanup.TooBig}, nil
	case 77:
		return &cleanup.Result{Status: cleanup.Rejected, Reason: "Error: you may not submit mail"}, nil
	}
	return nil, fmt.Errorf("postdrop: %v", st)
}

func (d *drop) wait() (*os.ProcessState, string, error) {
	d.in.Close()
	said, _ := io.ReadAll(io.LimitReader(d.out, 4096))
	d.out.Close()
	st, err := d.proc.Wait()
	_, id, _ := strings.Cut(string(bytes.TrimSpace(said)), "queue_id=")
	return st, id, err
}

// Abort closes postdrop's input before the end of the message, which leaves
// nothing behind.
func (d *drop) Abort() { d.wait() }
