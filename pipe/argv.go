package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"posthaste/pkg/address"
	"posthaste/pkg/envelope"
	"posthaste/pkg/macro"
	"posthaste/pkg/pipeargs"
	proto "posthaste/pkg/proto/delivery"
)

// attrs are the arguments in master.cf.
type attrs struct{ pipeargs.Attrs }

func parseAttrs(args []string) (*attrs, error) {
	a, err := pipeargs.Parse(args)
	if err != nil {
		return nil, err
	}
	return &attrs{*a}, nil
}

// expandArgv makes the command line. No shell sees it, and what a macro
// stands for is never looked at again: "$" or blanks in an address mean nothing.
func expandArgv(a *attrs, delims string, r *proto.Request) ([]string, error) {
	var out []string
	for _, arg := range a.Argv {
		names, err := macro.Names(arg)
		if err != nil {
			return nil, err
		}
		times := 1
		if slices.ContainsFunc(names, func(n string) bool { return slices.Contains(pipeargs.PerRecipient, n) }) {
			times = len(r.Recipients)
		}
		for i := range times {
			s, _, err := macro.Expand(arg, "", func(name string) (string, bool) {
				if v, ok := a.requestValue(name, r); ok {
					return v, true
				}
				return a.recipientValue(name, &r.Recipients[i], delims)
			})
			if err != nil {
				return nil, err
			}
			if strings.IndexByte(s, 0) >= 0 {
				return nil, fmt.Errorf("NUL in an argument")
			}
			out = append(out, s)
		}
	}
	return out, nil
}

// morph folds and quotes an address as the flags ask.
func (a *attrs) morph(addr string, f pipeargs.Fold) string {
	local, domain := address.Split(addr)
	hasDomain := len(local) < len(addr)
	if f&pipeargs.Quote != 0 {
		q := address.Quote(local + "@x")
		local = strings.TrimSuffix(q, "@x")
	}
	if f&pipeargs.FoldUser != 0 {
		local = address.Fold(local)
	}
	if f&pipeargs.FoldHost != 0 {
		domain = address.Fold(domain)
	}
	if hasDomain {
		return local + "@" + domain
	}
	return local
}

func (a *attrs) recipientValue(name string, r *envelope.Recipient, delims string) (string, bool) {
	switch name {
	case "recipient":
		return a.morph(r.Address, a.Fold), true
	case "original_recipient":
		if r.Orig == "" {
			return a.morph(r.Address, a.Fold), true
		}
		return a.morph(r.Orig, a.Fold), true
	}
	local, domain := address.Split(a.morph(r.Address, a.Fold&^pipeargs.Quote))
	user, ext := address.SplitExtension(local, delims)
	switch name {
	case "user":
		return user, true
	case "extension":
		return ext, true
	case "mailbox":
		return local, true
	case "domain":
		return domain, true
	}
	return "", false
}

// sender is the envelope sender or what stands for the null sender.
func (a *attrs) sender(r *proto.Request) string {
	if r.Message.Sender == "" {
		return a.NullSender
	}
	return r.Message.Sender
}

func (a *attrs) requestValue(name string, r *proto.Request) (string, bool) {
	m := &r.Message
	c := &m.Client
	switch name {
	case "nexthop":
		if a.Fold&pipeargs.FoldHost != 0 {
			return address.Fold(r.Nexthop), true
		}
		return r.Nexthop, true
	case "sender":
		s := a.sender(r)
		if s != "" && a.Fold&pipeargs.Quote != 0 {
			s = address.Quote(s)
		}
		return s, true
	case "size":
		return strconv.FormatInt(r.ContentLength, 10), true
	case "client_address":
		return c.Address, true
	case "client_hostname":
		return c.Name, true
	case "client_port":
		return c.Port, true
	case "client_protocol":
		return c.Protocol, true
	case "client_helo":
		return c.Helo, true
	case "sasl_method":
		return c.SASLMethod, true
	case "sasl_username":
		return c.SASLUser, true
	case "sasl_sender":
		return c.SASLSender, true
	case "queue_id":
		return m.ID, true
	case "envid":
		return m.Envid, true
	}
	return "", false
}
