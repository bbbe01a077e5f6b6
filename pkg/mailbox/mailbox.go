// Package mailbox says what a mail store is to the programs that show it to
// readers: folders of messages with UIDs, flags, mod-sequences and cached
// structure. Package maildir/store implements it on Maildir++; package
// mailboxtest holds every implementation to it.
//
// A Store is one user's mail, opened by one session. A Mailbox is one folder
// that a session has selected. Both belong to the goroutine of their session;
// only the channel of Changed may be used by another. What many sessions of a
// process have in common is shared behind them.
//
// A Mailbox shows a View: an immutable snapshot whose message order gives the
// sequence numbers. The View changes only when the session says so (Sync, and
// Store for the messages it names), so that sequence numbers keep their
// meaning between the responses that announce their change.
//
// Folder names are UTF-8 with "/" between levels; "INBOX" is the inbox in any
// spelling of its letters. What a name may be is CheckName's to say.
package mailbox

import (
	"context"
	"errors"
	"io"
	"math"
	"time"
)

// UID is a message's unique identifier in its folder (RFC 9051, section
// 2.3.1.1): never 0, ascending, never given twice under one UIDVALIDITY.
type UID uint32

// ModSeq is a modification sequence (RFC 7162): at most 2^63-1.
type ModSeq uint64

// Flags is a set of system flags.
type Flags uint8

// The system flags. \Recent is no property of a message: see Mailbox.Recent.
const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft
)

// Message is what the index knows of a message. It is immutable: a change makes
// a new one, so that two pointers that are equal mean that nothing changed.
type Message struct {
	UID      UID
	Flags    Flags
	ModSeq   ModSeq
	Keywords []string // in ascending order, in the spelling that came first
	// Size is RFC822.SIZE, the size with CRLF line ends; -1 when it is not known
	// yet: Mailbox.Size finds it out.
	Size int64
	// Date is the internal date, Unix seconds; NoDate when it is not known yet:
	// Mailbox.Date finds it out.
	Date     int64
	SaveDate int64  // when it came into this folder (RFC 8514), Unix seconds
	EmailID  uint64 // the same for copies (RFC 8474); 0 means none

	// File and Place are the implementation's: where the message is.
	File  string
	Place uint8
}

// HasKeyword tells whether the message has the keyword, in any case.
func (m *Message) HasKeyword(k string) bool { return hasFold(m.Keywords, k) }

// NoDate is a Message.Date that is not known yet.
const NoDate = math.MinInt64

// View is a snapshot of a folder.
type View struct {
	UIDValidity   uint32
	UIDNext       UID
	HighestModSeq ModSeq
	Messages      []*Message // by ascending UID; index + 1 is the sequence number
	Keywords      []string   // all that the folder knows, used or not
}

// Status is what STATUS and LIST-STATUS ask for.
type Status struct {
	Messages      uint32
	Unseen        uint32
	Deleted       uint32
	Recent        uint32
	Size          int64 // sum of the message sizes
	DeletedSize   int64
	UIDNext       UID
	UIDValidity   uint32
	HighestModSeq ModSeq
	ID            string // RFC 8474 MAILBOXID
}

// SpecialUse is a folder's purpose by RFC 6154, as the wire spells it.
type SpecialUse string

// The purposes.
const (
	UseNone    SpecialUse = ""
	UseArchive SpecialUse = `\Archive`
	UseDrafts  SpecialUse = `\Drafts`
	UseJunk    SpecialUse = `\Junk`
	UseSent    SpecialUse = `\Sent`
	UseTrash   SpecialUse = `\Trash`
)

// Folder is one line of a list.
type Folder struct {
	Name        string
	Exists      bool // false for a name that is only subscribed, or only a parent
	Selectable  bool
	HasChildren bool
	Subscribed  bool
	Use         SpecialUse
}

// Quota is what a store holds and may hold; a limit of 0 is none.
type Quota struct {
	Bytes, BytesLimit       int64
	Messages, MessagesLimit int64
}

// The errors that a client is told of in a response code. Everything else is
// the server's trouble (RFC 5530 SERVERBUG or UNAVAILABLE).
var (
	ErrNotFound  = errors.New("no such mailbox")             // NONEXISTENT, or TRYCREATE
	ErrExists    = errors.New("mailbox already exists")      // ALREADYEXISTS
	ErrName      = errors.New("mailbox name is not allowed") // CANNOT
	ErrInbox     = errors.New("not possible with INBOX")     // CANNOT
	ErrReadOnly  = errors.New("mailbox is read-only")        // READ-ONLY
	ErrQuota     = errors.New("quota exceeded")              // OVERQUOTA
	ErrExpunged  = errors.New("message is gone")             // EXPUNGEISSUED
	ErrBusy      = errors.New("mailbox is locked")           // INUSE
	ErrLimit     = errors.New("limit reached")               // LIMIT
	ErrNoSelect  = errors.New("mailbox cannot be selected")  // CANNOT
	ErrHasUse    = errors.New("special use is taken")        // USEATTR
	ErrOtherView = errors.New("UIDs are no longer valid")    // the folder was replaced: reselect
	ErrClosed    = errors.New("mailbox is closed")
)

// Store is one user's mail.
type Store interface {
	// List returns all folders by name, and names that are subscribed to but do
	// not exist. Parents that exist only by their children are listed too.
	List() ([]Folder, error)
	// Open selects a folder.
	Open(name string, readOnly bool) (Mailbox, error)
	// Status looks at a folder without selecting it. sizes asks for Size and
	// DeletedSize, which may have to read messages.
	Status(name string, sizes bool) (Status, error)
	// Create makes a folder; missing parents appear as names that cannot be selected.
	Create(name string, use SpecialUse) error
	// Delete removes a folder and its messages; children stay.
	Delete(name string) error
	// Rename renames a folder and its children. For INBOX it moves the messages
	// to a new folder (RFC 9051, section 6.3.6).
	Rename(from, to string) error
	Subscribe(name string, on bool) error
	// Append starts to add messages to a folder.
	Append(name string) (Appender, error)
	Quota() (Quota, error)
	Close() error
}

// Appender adds messages, all or none. Its calls come in the order Begin,
// writes, Begin, writes…, then Commit or Abort. After an error of any call
// only Abort remains.
type Appender interface {
	// Begin starts the next message. The bytes written are what Content will
	// give back, whatever their line ends.
	Begin(AppendInfo) (io.Writer, error)
	// Commit returns when the messages are durable and visible.
	Commit() (Appended, error)
	// Abort leaves nothing behind. After Commit it does nothing.
	Abort()
}

// AppendInfo is what comes with an appended message.
type AppendInfo struct {
	Flags    Flags
	Keywords []string
	Date     time.Time // internal date; zero for now
	Size     int64     // announced size, for quota; 0 if unknown
	// UID, if not 0, asks for that UID (import). It must be above all others.
	UID UID
}

// Appended is what APPENDUID and COPYUID tell: Sources[i] became UIDs[i].
type Appended struct {
	UIDValidity uint32
	Sources     []UID // empty for an Appender
	UIDs        []UID
}

// StoreOp says what Store does to flags.
type StoreOp uint8

// The operations.
const (
	Replace StoreOp = iota
	Add
	Remove
)

// StoreChange is the change that Store makes.
type StoreChange struct {
	Op       StoreOp
	Flags    Flags
	Keywords []string
	// If Conditional, messages with a mod-sequence above UnchangedSince are left alone.
	Conditional    bool
	UnchangedSince ModSeq
}

// Stored is what Store did.
type Stored struct {
	// Changed are the messages as they are now, of all UIDs that Store found and
	// was allowed to change, changed or not. They are in the View already, at the
	// sequence numbers in Seqs.
	Changed []*Message
	Seqs    []uint32
	// Modified are those that UnchangedSince protected.
	Modified []UID
	// Gone are those that are expunged but still in the View.
	Gone []UID
}

// Changes is what Sync found, in the order in which a client must be told:
// first Expunged, then the rest.
type Changes struct {
	// Expunged are sequence numbers in the old View, in descending order, so that
	// each is right when the responses are sent one by one; ExpungedUIDs are the
	// UIDs of the same.
	Expunged     []uint32
	ExpungedUIDs []UID
	// Changed are sequence numbers, in the new View, of messages that were in the
	// old View and have other flags or keywords now.
	Changed []uint32
	// New is the number of messages that were not in the old View; they are the last ones.
	New int
	// Keywords tells that View.Keywords grew.
	Keywords bool
}

// Any tells whether there is something to tell.
func (c *Changes) Any() bool {
	return len(c.Expunged) > 0 || len(c.Changed) > 0 || c.New > 0 || c.Keywords
}

// UIDRange is the UIDs from First to Last.
type UIDRange struct{ First, Last UID }

// CacheKind names what is cached of a message.
type CacheKind uint8

// The kinds. The values are written to disk; the form of each blob is its
// writer's, who begins it with a version.
const (
	CacheDerived CacheKind = 1 + iota // what is told of a message often: ENVELOPE, BODYSTRUCTURE, header fields
	CachePreview
)

// Mailbox is a selected folder.
type Mailbox interface {
	Name() string
	ID() string // RFC 8474 MAILBOXID
	ReadOnly() bool
	// View returns the snapshot that this session sees.
	View() *View
	// Sync moves the View to the present and tells what changed. Without expunge,
	// messages that are gone stay in the View (RFC 9051, section 7.5.1).
	Sync(ctx context.Context, expunge bool) (Changes, error)
	// Changed gets a value when Sync may have something to tell. It wakes for
	// what other sessions, deliveries and foreign programs do, as long as the
	// session keeps it; the first call starts the watch.
	Changed() <-chan struct{}
	// Recent tells whether this session is the first to see the message.
	Recent(UID) bool
	// RecentCount counts the messages of the View that are Recent.
	RecentCount() int
	// Store changes flags. UIDs that are not in the View are ignored.
	Store(uids []UID, c StoreChange) (Stored, error)
	// Expunge removes the messages of uids that have \Deleted, or all that have
	// for nil. Sync tells the result.
	Expunge(uids []UID) error
	// Copy and Move put messages into the folder named to. Messages that are gone
	// are left out. A Move is over when the messages are in the other folder;
	// Sync tells that they left this one.
	Copy(uids []UID, to string) (Appended, error)
	Move(uids []UID, to string) (Appended, error)
	// Size finds out RFC822.SIZE when Message.Size is -1, and remembers it.
	Size(*Message) (int64, error)
	// Date finds out the internal date when Message.Date is NoDate, and remembers
	// it: what it told once it always tells.
	Date(*Message) (int64, error)
	// Content opens a message. The error is ErrExpunged if it is gone.
	Content(*Message) (Content, error)
	// Cached returns what SetCached was given. The bytes must not be changed, and
	// are good until the next call.
	Cached(UID, CacheKind) ([]byte, bool)
	// SetCached remembers values, soon and without promise. It keeps no reference
	// to them.
	SetCached(...CacheValue)
	// Vanished returns which UIDs up to the View's UIDNEXT were expunged after since. If the
	// history does not reach back so far, it returns all UIDs that do not exist
	// (RFC 7162, section 3.2.5.1, allows more than was asked).
	Vanished(since ModSeq) []UIDRange
	// Close lets go. It expunges nothing.
	Close() error
}

// CacheValue is a value that is cached of a message.
type CacheValue struct {
	UID   UID
	Kind  CacheKind
	Value []byte
}

// Content is a message in its wire form, with CRLF line ends. It is for one
// goroutine.
type Content interface {
	io.ReaderAt
	io.WriterTo // the whole message
	Size() int64
	// Bytes returns the message if it is in memory, otherwise nil. The bytes must
	// not be changed, and are good until Close.
	Bytes() []byte
	Close() error
}
