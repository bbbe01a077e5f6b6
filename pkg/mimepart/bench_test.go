package mimepart

import (
	"strings"
	"testing"
)

// ordinary is a message as most are: one part of text.
var ordinary = []byte(strings.ReplaceAll(`Return-Path: <sender@client.example>
Received: from mail.client.example (mail.client.example [192.0.2.7])
	by mx.example.test (Posthaste) with ESMTP id 4B1F2C3D4E5F
	for <user@example.test>; Fri, 22 Feb 2008 17:06:23 +0200 (EET)
From: Sender One <sender@client.example>
To: Some User <user@example.test>
Cc: "Other, Person" <other@client.example>, third@client.example
Subject: subject number 1 of many
Date: Fri, 22 Feb 2008 17:06:23 +0200
Message-ID: <1234567890@client.example>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

`+strings.Repeat(strings.Repeat("x", 70)+"\n", 50), "\n", "\r\n"))

func BenchmarkOrdinary(b *testing.B) {
	b.ReportAllocs()
	var out []byte
	var r Parser
	for b.Loop() {
		p := r.Parse(ordinary)
		out = AppendEnvelope(out[:0], p.Envelope)
		out = AppendStructure(out, p, true)
	}
}
