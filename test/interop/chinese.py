"""Writes messages in the charsets that Chinese mail has, one file each.

usage: chinese.py DIR

Every subject has the word for "meeting" (U+4F1A U+8BAE, in Big5 the traditional
U+6703 U+8B70), every body that for "minutes" (U+7EAA U+8981 or U+7D00 U+8981).
"""
import base64
import quopri
import sys

simple = ("关于下周会议的通知", "各位同事：\r\n附上会议纪要，请查收。\r\n谢谢！\r\n")
more = ("镕基㐀会议𠀀", "朱镕基、㐀、𠮷野家。\r\n会议纪要在此。\r\n")  # outside GB2312, some outside GBK
gbk = ("朱镕基会议喆", "镕、喆、囍：GBK 才有的字。\r\n会议纪要。\r\n")
trad = ("關於下週會議的通知", "各位同事：\r\n附上會議紀要，請查收。\r\n謝謝！\r\n")
mails = {  # name: charset, Python's name of it, texts, transfer encoding of the body, and B or Q for the subject
    "gb2312": ("GB2312", "gb2312", simple, "base64", "B"),
    "gbk": ("GBK", "gbk", gbk, "quoted-printable", "Q"),
    "gb18030": ("GB18030", "gb18030", more, "8bit", "B"),
    "big5": ("Big5", "big5", trad, "base64", "B"),
    "hz": ("HZ-GB-2312", "hz", simple, "7bit", "B"),
    "utf8": ("UTF-8", "utf-8", more, "8bit", "B"),
    "eai": ("UTF-8", "utf-8", simple, "8bit", ""),
}


def word(charset, raw, how):
    if how == "B":
        return "=?%s?B?%s?=" % (charset, base64.b64encode(raw).decode())
    return "=?%s?Q?%s?=" % (charset, "".join("=%02X" % c for c in raw))


for name, (charset, codec, (subject, body), cte, how) in mails.items():
    sender, to = "Sender <sender@client.test>", "<user0@local.test>"
    if name == "eai":  # RFC 6532: header fields in UTF-8
        sender, to = "王小明 <小明@client.test>", "李华 <李华@local.test>"
    elif how:
        sender = word(charset, "王小明".encode(codec), how) + " <sender@client.test>"
        subject = word(charset, subject.encode(codec), how)
    text = body.encode(codec)
    if cte == "base64":
        text = base64.encodebytes(text).replace(b"\n", b"\r\n")
    elif cte == "quoted-printable":
        text = quopri.encodestring(text)
    head = ["From: " + sender, "To: " + to, "Subject: " + subject, "Date: Mon, 23 Nov 2026 12:00:00 +0800", "Message-ID: <%s@client.test>" % name,
            "MIME-Version: 1.0", "Content-Type: text/plain; charset=" + charset, "Content-Transfer-Encoding: " + cte, "", ""]
    with open("%s/%s" % (sys.argv[1], name), "wb") as f:
        f.write("\r\n".join(head).encode() + text)

# A message of many parts; file names in each way that is used.
parts = """From: "Wang, \\"Xiaoming\\"" <wang@client.test>, =?GBK?B?%(name)s?= <xm@client.test>
Sender: sec@client.test
Reply-To: group: a@client.test, "b \\\\ c" <b@client.test>;
To: <user0@local.test>
Cc: undisclosed-recipients:;
Subject: =?GBK?B?%(subject)s?=
Date: Mon, 23 Nov 2026 12:00:00 +0800
Message-ID: <multi@client.test>
In-Reply-To: <gbk@client.test>
References: <gb2312@client.test> <gbk@client.test>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer \\\\ (x)"

preamble
--outer \\ (x)
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=GBK; format=flowed
Content-Transfer-Encoding: base64

%(plain)s
--inner
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable
Content-Language: zh-CN, en

<p>=E4=BC=9A=E8=AE=AE</p>
--inner--

--outer \\ (x)
Content-Type: application/pdf; name="=?UTF-8?B?5Lya6K6u57qq6KaBLnBkZg==?="
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename*=UTF-8''%%E4%%BC%%9A%%E8%%AE%%AE%%E7%%BA%%AA%%E8%%A6%%81.pdf; size=4
Content-ID: <pdf@client.test>
Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==
Content-Location: http://client.test/a.pdf

JVBERg==
--outer \\ (x)
Content-Type: text/plain; name="a \\"quoted\\" \\\\ name.txt"
Content-Description: =?GBK?B?%(name)s?=

--outer \\ (x)
Content-Type: message/rfc822

From: =?GBK?B?%(name)s?= <in@client.test>
Subject: inner
Content-Type: multipart/mixed; boundary=third

--third

in the inner message
--third--

--outer \\ (x)--
epilogue
""" % {"name": base64.b64encode("王小明".encode("gbk")).decode(), "subject": base64.b64encode("会议附件".encode("gbk")).decode(), "plain": base64.b64encode("附件是会议纪要。\r\n".encode("gbk")).decode()}
with open(sys.argv[1] + "/multi", "wb") as f:
    f.write(parts.replace("\n", "\r\n").encode())
