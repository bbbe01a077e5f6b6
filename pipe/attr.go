package main

import (
	"posthaste/pkg/mailcopy"
	"posthaste/pkg/wire"
)

// order is what a worker is asked to run.
type order struct {
	Argv        []string
	Env         []string
	Dir         string
	EOL         string
	Flags       mailcopy.Flags
	Sender      string // external forms, for the header lines
	OrigTo      string
	DeliveredTo string
	Loop        string // internal recipient to look for in Delivered-To:, "" for none
	Limit       int64  // nanoseconds
	Offset      int64
	Length      int64
}

func (o *order) encode() []byte {
	var e wire.Encoder
	e.Strings(o.Argv)
	e.Strings(o.Env)
	for _, s := range []string{o.Dir, o.EOL, o.Sender, o.OrigTo, o.DeliveredTo, o.Loop} {
		e.String(s)
	}
	e.Uint(uint64(o.Flags))
	e.Int(o.Limit)
	e.Int(o.Offset)
	e.Int(o.Length)
	return e.B
}

func decodeOrder(p []byte) (*order, error) {
	d := wire.NewDecoder(p)
	o := &order{Argv: d.Strings(), Env: d.Strings()}
	for _, s := range []*string{&o.Dir, &o.EOL, &o.Sender, &o.OrigTo, &o.DeliveredTo, &o.Loop} {
		*s = d.String()
	}
	o.Flags = mailcopy.Flags(d.Uint())
	o.Limit, o.Offset, o.Length = d.Int(), d.Int(), d.Int()
	if err := d.Done(); err != nil {
		return nil, err
	}
	if len(o.Argv) == 0 || o.Offset < 0 || o.Length < 0 {
		return nil, wire.ErrMalformed
	}
	return o, nil
}
