package main

func (st *stage) mutts(fs, cs []fixture)    {}
func (st *stage) syncs(fs, cs []fixture)    {}
func (st *stage) fetchers(fs, cs []fixture) {}
func (st *stage) webmail(fs, cs []fixture)  {}
func (st *stage) dovecot(fs, cs []fixture)  {}
