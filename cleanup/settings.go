package main

import (
	"fmt"
	"strings"

	"posthaste/pkg/config"
	"posthaste/pkg/header"
	"posthaste/pkg/lookup"
	"posthaste/pkg/maillog"
	"posthaste/pkg/mimestate"
	"posthaste/pkg/params"
	"posthaste/pkg/queue"
	"posthaste/pkg/route"
)

// classes of addresses that a mapping applies to.
type classes uint8

const (
	envelopeSender classes = 1 << iota
	envelopeRecipient
	headerSender
	headerRecipient
)

var classNames = map[string]classes{
	"envelope_sender": envelopeSender, "envelope_recipient": envelopeRecipient,
	"header_sender": headerSender, "header_recipient": headerRecipient,
}

// mapping is a table that puts an address in place of another.
type mapping struct {
	param string
	maps  *lookup.Maps
	on    classes
	ext   bool // unmatched extensions go on
}

// rewriter is what cleanup asks of pkg/route.
type rewriter interface {
	Rewrite(addr string, local bool) string
	AddressOptions() lookup.AddressOptions
	Delims() string
}

// settings are cleanup's configuration and its open tables.
type settings struct {
	log    *maillog.Logger
	spool  *queue.Spool
	notify interface{ Notify(id string) }
	router rewriter
	addr   lookup.AddressOptions
	delims string

	hostname, mailName       string
	tlsReceived, authHeader  bool
	alwaysAdd, remoteRewrite bool
	fromObsolete             bool
	undisclosed              string
	drop                     map[string]bool

	messageLimit int64
	headerLimit  int
	hopLimit     int
	replaceStray bool
	rejectChars  *charSet
	stripChars   *charSet
	charset      string // of FullName in a From: header
	noEmptyLine  string // non_empty_end_of_header_action

	canonical    []mapping // in the order in which they apply
	masquerade   []string
	masqExcept   *lookup.List
	masqOn       classes
	virtual      mapping
	expandLimit  int
	recurseLimit int
	lengthLimit  int
	dupLimit     int
	origRcpt     bool
	emptyRcpt    string

	alwaysBCC  []string
	senderBCC  *lookup.Maps
	recipBCC   *lookup.Maps
	headerMaps *lookup.Maps
	mimeMaps   *lookup.Maps
	nestedMaps *lookup.Maps
	bodyMaps   *lookup.Maps
	bodyLimit  int64
	lineLimit  int
	noMime     bool
	mime       mimestate.Options
}

func parseClasses(c *config.Config, p *config.String) (classes, error) {
	var on classes
	for _, n := range p.List(c) {
		k, ok := classNames[strings.ToLower(n)]
		if !ok {
			return 0, fmt.Errorf("%s: %s: unknown address class %q", c.Pos(p.Name), p.Name, n)
		}
		on |= k
	}
	return on, nil
}

// load reads the parameters and opens the tables.
func load(c *config.Config, log *maillog.Logger, stale func(string)) (*settings, error) {
	env := &lookup.Env{Config: c, Log: log, Stale: stale}
	router, err := route.New(c, env)
	if err != nil {
		return nil, err
	}
	s := &settings{log: log, router: router, addr: router.AddressOptions(), delims: router.Delims()}
	s.hostname, s.mailName = params.Myhostname.In(c), params.MailName.In(c)
	s.tlsReceived, s.authHeader = params.SmtpdTlsReceivedHeader.In(c), params.SmtpdSaslAuthenticatedHeader.In(c)
	s.alwaysAdd = params.AlwaysAddMissingHeaders.In(c)
	s.remoteRewrite = params.RemoteHeaderRewriteDomain.In(c) != ""
	switch f := params.HeaderFromFormat.In(c); f {
	case "standard":
	case "obsolete":
		s.fromObsolete = true
	default:
		return nil, fmt.Errorf("%s: header_from_format: want standard or obsolete, not %q", c.Pos("header_from_format"), f)
	}
	if s.undisclosed = params.UndisclosedRecipientsHeader.In(c); s.undisclosed != "" {
		if _, ok := header.Name([]byte(s.undisclosed)); !ok {
			return nil, fmt.Errorf("%s: undisclosed_recipients_header: %q is no header", c.Pos("undisclosed_recipients_header"), s.undisclosed)
		}
	}
	s.drop = map[string]bool{}
	for _, n := range params.MessageDropHeaders.List(c) {
		s.drop[strings.ToLower(n)] = true
	}
	s.messageLimit, s.headerLimit = params.MessageSizeLimit.In64(c), params.HeaderSizeLimit.In(c)
	s.hopLimit = params.HopcountLimit.In(c)
	s.replaceStray = params.CleanupReplaceStrayCrLf.In(c)
	s.rejectChars, s.stripChars = parseChars(params.MessageRejectCharacters.In(c)), parseChars(params.MessageStripCharacters.In(c))
	s.charset = params.FullNameEncodingCharset.In(c)
	switch s.noEmptyLine = params.NonEmptyEndOfHeaderAction.In(c); s.noEmptyLine {
	case "fix_quietly", "add_header", "reject":
	default:
		return nil, fmt.Errorf("%s: non_empty_end_of_header_action: unknown action %q", c.Pos("non_empty_end_of_header_action"), s.noEmptyLine)
	}
	s.expandLimit, s.recurseLimit = params.VirtualAliasExpansionLimit.In(c), params.VirtualAliasRecursionLimit.In(c)
	s.lengthLimit, s.dupLimit = params.VirtualAliasAddressLengthLimit.In(c), params.DuplicateFilterLimit.In(c)
	s.origRcpt, s.emptyRcpt = params.EnableOriginalRecipient.In(c), params.EmptyAddressRecipient.In(c)
	s.alwaysBCC = params.AlwaysBcc.List(c)
	s.bodyLimit, s.lineLimit = params.BodyChecksSizeLimit.In64(c), params.LineLengthLimit.In(c)
	s.noMime = params.DisableMimeInputProcessing.In(c)
	s.mime = mimestate.Options{Nesting: params.MimeNestingLimit.In(c), BoundaryLength: params.MimeBoundaryLengthLimit.In(c), HeaderSize: s.headerLimit}
	return s, s.openMaps(c, env)
}

func (s *settings) openMaps(c *config.Config, env *lookup.Env) error {
	propagate := map[string]bool{}
	for _, n := range params.PropagateUnmatchedExtensions.List(c) {
		propagate[strings.ToLower(n)] = true
	}
	open := func(p *config.String) (*lookup.Maps, error) { return lookup.OpenMaps(p.Name, p.In(c), env) }
	for _, m := range []struct{ maps, on *config.String }{
		{&params.SenderCanonicalMaps, &params.SenderCanonicalClasses},
		{&params.RecipientCanonicalMaps, &params.RecipientCanonicalClasses},
		{&params.CanonicalMaps, &params.CanonicalClasses},
	} {
		maps, err := open(m.maps)
		if err != nil {
			return err
		}
		on, err := parseClasses(c, m.on)
		if err != nil {
			return err
		}
		// The sender tables apply to sender addresses alone, whatever the classes say.
		switch m.maps {
		case &params.SenderCanonicalMaps:
			on &= envelopeSender | headerSender
		case &params.RecipientCanonicalMaps:
			on &= envelopeRecipient | headerRecipient
		}
		if !maps.Empty() {
			s.canonical = append(s.canonical, mapping{m.maps.Name, maps, on, propagate["canonical"]})
		}
	}
	var err error
	if s.masqOn, err = parseClasses(c, &params.MasqueradeClasses); err != nil {
		return err
	}
	s.masquerade = params.MasqueradeDomains.List(c)
	if s.masqExcept, err = lookup.OpenStringList("masquerade_exceptions", params.MasqueradeExceptions.In(c), env); err != nil {
		return err
	}
	s.virtual = mapping{param: "virtual_alias_maps", ext: propagate["virtual"]}
	for _, m := range []struct {
		p  *config.String
		to **lookup.Maps
	}{
		{&params.VirtualAliasMaps, &s.virtual.maps},
		{&params.SenderBccMaps, &s.senderBCC},
		{&params.RecipientBccMaps, &s.recipBCC},
		{&params.HeaderChecks, &s.headerMaps},
		{&params.MimeHeaderChecks, &s.mimeMaps},
		{&params.NestedHeaderChecks, &s.nestedMaps},
		{&params.BodyChecks, &s.bodyMaps},
	} {
		if *m.to, err = open(m.p); err != nil {
			return err
		}
	}
	return nil
}
