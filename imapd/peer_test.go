package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// TestGoIMAP lets another implementation's client judge our responses.
func TestGoIMAP(t *testing.T) {
	ts := newTestStore(t)
	exists := make(chan uint32, 10)
	c := imapclient.New(ts.dialWith("* PREAUTH ready\r\n"), &imapclient.Options{
		UnilateralDataHandler: &imapclient.UnilateralDataHandler{Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				exists <- *d.NumMessages
			}
		}},
	})
	defer c.Close()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	must("greeting", c.WaitGreeting())
	caps, err := c.Capability().Wait()
	must("CAPABILITY", err)
	for _, want := range []imap.Cap{imap.CapIMAP4rev1, imap.CapIMAP4rev2, imap.CapIdle, imap.CapMove, imap.CapCondStore, imap.CapQResync, imap.CapESearch} {
		if !caps.Has(want) {
			t.Errorf("no %s", want)
		}
	}
	msg := strings.ReplaceAll("Subject: =?utf-8?B?5Lya6K6u?=\nFrom: Anna <anna@example.test>\nDate: Mon, 7 Feb 1994 21:52:25 -0800\n"+
		"Message-ID: <a@b>\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\n\nhello\n--b\n"+
		"Content-Type: image/png; name=\"x.png\"\nContent-Disposition: attachment; filename=\"x.png\"\nContent-Transfer-Encoding: base64\n\nAAEC\n--b--\n", "\n", "\r\n")
	for range 3 {
		a := c.Append("INBOX", int64(len(msg)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagSeen, "$Work"}, Time: time.Unix(1e9, 0)})
		_, err = io.WriteString(a, msg)
		must("APPEND", err)
		must("APPEND", a.Close())
		d, err := a.Wait()
		must("APPEND", err)
		if d.UID == 0 || d.UIDValidity == 0 {
			t.Errorf("APPENDUID %+v", d)
		}
	}
	sel, err := c.Select("INBOX", &imap.SelectOptions{CondStore: true}).Wait()
	must("SELECT", err)
	if sel.NumMessages != 3 || sel.UIDNext != 4 || sel.HighestModSeq == 0 {
		t.Errorf("SELECT: %+v", sel)
	}
	section := &imap.FetchItemBodySection{Part: []int{1}, Peek: true}
	header := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"Subject"}, Peek: true}
	got, err := c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{
		Envelope: true, Flags: true, InternalDate: true, RFC822Size: true, UID: true, ModSeq: true,
		BodyStructure: &imap.FetchItemBodyStructure{Extended: true},
		BodySection:   []*imap.FetchItemBodySection{section, header, {Peek: true}},
		BinarySection: []*imap.FetchItemBinarySection{{Part: []int{2}, Peek: true}},
	}).Collect()
	must("FETCH", err)
	m := got[0]
	if m.Envelope.Subject != "会议" || m.Envelope.MessageID != "a@b" || len(m.Envelope.From) != 1 || m.Envelope.From[0].Addr() != "anna@example.test" {
		t.Errorf("ENVELOPE %+v", m.Envelope)
	}
	if string(m.FindBodySection(section)) != "hello" || m.RFC822Size != int64(len(msg)) || !m.InternalDate.Equal(time.Unix(1e9, 0)) {
		t.Errorf("FETCH %+v", m)
	}
	multi, ok := m.BodyStructure.(*imap.BodyStructureMultiPart)
	if !ok || len(multi.Children) != 2 || multi.Children[1].(*imap.BodyStructureSinglePart).Filename() != "x.png" {
		t.Errorf("BODYSTRUCTURE %+v", m.BodyStructure)
	}
	sd, err := c.Search(&imap.SearchCriteria{Body: []string{"HELLO"}, Flag: []imap.Flag{imap.FlagSeen}}, &imap.SearchOptions{ReturnCount: true, ReturnAll: true}).Wait()
	must("SEARCH", err)
	if sd.Count != 3 || len(sd.AllSeqNums()) != 3 {
		t.Errorf("SEARCH %+v", sd)
	}
	must("CREATE", c.Create("会议/archive", &imap.CreateOptions{SpecialUse: []imap.MailboxAttr{imap.MailboxAttrArchive}}).Wait())
	boxes, err := c.List("", "*", &imap.ListOptions{ReturnSpecialUse: true, ReturnStatus: &imap.StatusOptions{NumMessages: true, Size: true}}).Collect()
	must("LIST", err)
	found := false
	for _, b := range boxes {
		found = found || b.Mailbox == "会议/archive" && b.Status != nil
	}
	if !found {
		t.Errorf("LIST %+v", boxes)
	}
	cp, err := c.Copy(imap.SeqSetNum(1, 2), "会议/archive").Wait()
	must("COPY", err)
	if len(cp.SourceUIDs) == 0 {
		t.Errorf("COPYUID %+v", cp)
	}
	_, err = c.Move(imap.UIDSetNum(3), "会议/archive").Wait()
	must("MOVE", err)
	flags, err := c.Store(imap.SeqSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Collect()
	must("STORE", err)
	if len(flags) != 1 || len(flags[0].Flags) < 3 {
		t.Errorf("STORE %+v", flags)
	}
	seqs, err := c.Expunge().Collect()
	must("EXPUNGE", err)
	if len(seqs) != 1 {
		t.Errorf("EXPUNGE %v", seqs)
	}
	st, err := c.Status("会议/archive", &imap.StatusOptions{NumMessages: true, UIDNext: true, HighestModSeq: true}).Wait()
	must("STATUS", err)
	if *st.NumMessages != 3 {
		t.Errorf("STATUS %+v", st)
	}
	_, err = c.Sort(&imapclient.SortOptions{SearchCriteria: &imap.SearchCriteria{}, SortCriteria: []imapclient.SortCriterion{{Key: imapclient.SortKeyDate, Reverse: true}}}).Wait()
	must("SORT", err)
	_, err = c.Thread(&imapclient.ThreadOptions{Algorithm: imap.ThreadReferences, SearchCriteria: &imap.SearchCriteria{}}).Wait()
	must("THREAD", err)
	_, err = c.Namespace().Wait()
	must("NAMESPACE", err)
	_, err = c.GetQuotaRoot("INBOX").Wait()
	must("GETQUOTAROOT", err)
	_, err = c.ID(&imap.IDData{Name: "test"}).Wait()
	must("ID", err)
	for len(exists) > 0 {
		<-exists
	}
	idle, err := c.Idle()
	must("IDLE", err)
	ts.client().append("INBOX", "", hello)
	if n := <-exists; n != 2 {
		t.Errorf("%d EXISTS", n)
	}
	must("DONE", idle.Close())
	must("DONE", idle.Wait())
	_, err = c.Enable(imap.CapIMAP4rev2, imap.CapUTF8Accept).Wait()
	must("ENABLE", err)
	_, err = c.Select("会议/archive", nil).Wait()
	must("SELECT", err)
	must("UNSELECT", c.Unselect().Wait())
	must("DELETE", c.Delete("会议/archive").Wait())
	must("LOGOUT", c.Logout().Wait())
}
