package main

import (
	"fmt"
	"os"
	"slices"

	"posthaste/pkg/config"
	"posthaste/pkg/filelock"
	"posthaste/pkg/lookup"
	"posthaste/pkg/params"
	"posthaste/pkg/spawn"
	"posthaste/pkg/userdb"
	"posthaste/pkg/worker"
)

// source is where a destination was listed: allow_mail_to_commands and
// allow_mail_to_files name them.
type source uint8

const (
	fromAlias source = 1 << iota
	fromForward
	fromInclude
)

// where a Delivered-To: header goes (prepend_delivered_header).
type headerFor uint8

const (
	forCommand headerFor = 1 << iota
	forFile
	forForward
)

// settings are the parameters that local reads, and its tables.
type settings struct {
	agent agentConf

	aliases         *lookup.Maps
	commandMaps     *lookup.Maps
	transportMaps   *lookup.Maps
	fallbackMaps    *lookup.Maps
	transport       string // mailbox_transport
	fallback        string
	command         string // mailbox_command
	homeMailbox     string
	spool           string
	luser           string
	forwardPath     []string
	forwardFilter   string
	commandFilter   string
	execDir         string
	execFilter      string
	ownerSpecial    bool
	expandOwner     bool
	resetOwner      bool
	frozen          bool // frozen_delivered_to
	needHome        bool
	strictOwner     bool
	dupLimit        int
	allowCommands   source
	allowFiles      source
	prepend         headerFor
	propAlias       bool // propagate_unmatched_extensions
	propForward     bool
	propInclude     bool
	export          []string
	defaultPrivs    worker.Identity
	defaultPrivName string
}

func mask[T ~uint8](param string, words []string, names map[string]T) (T, error) {
	var m T
	for _, w := range words {
		b, ok := names[w]
		if !ok {
			return 0, fmt.Errorf("%s: unknown word %q", param, w)
		}
		m |= b
	}
	return m, nil
}

// load reads the parameters and opens the tables.
func load(cfg *config.Config, le *lookup.Env, users *userdb.DB) (*settings, error) {
	s := &settings{
		transport:     params.MailboxTransport.In(cfg),
		fallback:      params.FallbackTransport.In(cfg),
		command:       params.MailboxCommand.In(cfg),
		homeMailbox:   params.HomeMailbox.In(cfg),
		spool:         params.MailSpoolDirectory.In(cfg),
		luser:         params.LuserRelay.In(cfg),
		forwardPath:   config.SplitList(params.ForwardPath.In(cfg)),
		forwardFilter: params.ForwardExpansionFilter.In(cfg),
		commandFilter: params.CommandExpansionFilter.In(cfg),
		execDir:       params.CommandExecutionDirectory.In(cfg),
		execFilter:    params.ExecutionDirectoryExpansionFilter.In(cfg),
		ownerSpecial:  params.OwnerRequestSpecial.In(cfg),
		expandOwner:   params.ExpandOwnerAlias.In(cfg),
		resetOwner:    params.ResetOwnerAlias.In(cfg),
		frozen:        params.FrozenDeliveredTo.In(cfg),
		needHome:      params.RequireHomeDirectory.In(cfg),
		strictOwner:   params.StrictMailboxOwnership.In(cfg),
		dupLimit:      params.DuplicateFilterLimit.In(cfg),
		export:        spawn.Environ(params.ExportEnvironment.List(cfg)),
	}
	methods, err := filelock.ParseMethods(params.MailboxDeliveryLock.List(cfg))
	if err != nil {
		return nil, fmt.Errorf("mailbox_delivery_lock: %w", err)
	}
	s.agent = agentConf{
		Hostname:     params.Myhostname.In(cfg),
		Lock:         filelock.Options{Methods: methods, Attempts: params.DeliverLockAttempts.In(cfg), Delay: params.DeliverLockDelay.In(cfg), Stale: params.StaleLockTime.In(cfg)},
		MailboxLimit: params.MailboxSizeLimit.In64(cfg),
		CommandLimit: params.CommandTimeLimit.In(cfg),
		Shell:        params.LocalCommandShell.In(cfg),
		LineLimit:    params.LineLengthLimit.In(cfg),
	}
	if n := params.MessageSizeLimit.In64(cfg); s.agent.MailboxLimit > 0 && (n == 0 || n > s.agent.MailboxLimit) {
		return nil, fmt.Errorf("mailbox_size_limit is smaller than message_size_limit")
	}
	places := map[string]source{"alias": fromAlias, "forward": fromForward, "include": fromInclude}
	if s.allowCommands, err = mask("allow_mail_to_commands", params.AllowMailToCommands.List(cfg), places); err != nil {
		return nil, err
	}
	if s.allowFiles, err = mask("allow_mail_to_files", params.AllowMailToFiles.List(cfg), places); err != nil {
		return nil, err
	}
	if s.prepend, err = mask("prepend_delivered_header", params.PrependDeliveredHeader.List(cfg), map[string]headerFor{"command": forCommand, "file": forFile, "forward": forForward}); err != nil {
		return nil, err
	}
	prop := params.PropagateUnmatchedExtensions.List(cfg)
	s.propAlias, s.propForward, s.propInclude = slices.Contains(prop, "alias"), slices.Contains(prop, "forward"), slices.Contains(prop, "include")
	for _, m := range []struct {
		p   *config.String
		dst **lookup.Maps
	}{
		{&params.AliasMaps, &s.aliases}, {&params.MailboxCommandMaps, &s.commandMaps},
		{&params.MailboxTransportMaps, &s.transportMaps}, {&params.FallbackTransportMaps, &s.fallbackMaps},
	} {
		if *m.dst, err = lookup.OpenMaps(m.p.Decl().Name, m.p.In(cfg), le); err != nil {
			return nil, err
		}
	}
	s.agent.Commands = s.allowCommands != 0 || s.command != "" || !s.commandMaps.Empty()
	return s, s.findDefaultPrivs(params.DefaultPrivs.In(cfg), users)
}

// findDefaultPrivs looks default_privs up; it may not be root's.
func (s *settings) findDefaultPrivs(name string, users *userdb.DB) error {
	s.defaultPrivName = name
	u, err := users.Lookup(name)
	switch {
	case err != nil:
		return fmt.Errorf("default_privs: %w", err)
	case u == nil && os.Geteuid() != 0:
		s.defaultPrivs = worker.Identity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
		return nil
	case u == nil:
		return fmt.Errorf("default_privs: unknown user %q", name)
	case u.UID == 0 || u.GID == 0:
		return fmt.Errorf("default_privs: user %q is privileged", name)
	}
	g, err := users.Groups(u)
	if err != nil {
		return fmt.Errorf("default_privs: %w", err)
	}
	// Everybody's aliases share this worker: a slow command must not hold them up.
	s.defaultPrivs = worker.Identity{UID: u.UID, GID: u.GID, Groups: g, Limit: 200}
	return nil
}
