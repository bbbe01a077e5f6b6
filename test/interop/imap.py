"""A session with Python's imaplib, whose results are checked here and, from
outside, by the caller.

usage: imap.py STARTTLS-PORT TLS-PORT USER CERTIFICATE DIR
"""
import imaplib
import re
import ssl
import sys
import time

port, tls_port, user, cert, folder = sys.argv[1:6]
files = {n: open(folder + "/" + n, "rb").read() for n in ("plain", "dots", "eight", "l100k", "gb2312", "gbk", "gb18030", "big5", "hz", "utf8", "eai")}
names = list(files)
context = ssl.create_default_context(cafile=cert)


def ok(answer):
    typ, data = answer
    assert typ == "OK", answer
    return data


def same(got, want):
    assert got == want, "got %r, want %r" % (got, want)


def uids(answer):
    return [int(x) for x in ok(answer)[0].split()]


m = imaplib.IMAP4("localhost", int(port))
ok(m.starttls(context))
try:
    m.login(user, "wrong")
    raise SystemExit("a wrong password was taken")
except imaplib.IMAP4.error:
    pass
ok(m.login(user, "test"))
m.logout()

m = imaplib.IMAP4_SSL("localhost", int(tls_port), ssl_context=context)
ok(m.authenticate("PLAIN", lambda _: b"\0" + user.encode() + b"\0test"))
same([line.rsplit(b" ", 1)[1] for line in ok(m.list())], [b"INBOX", b"Drafts", b"Junk", b"Sent", b"Trash"])

# APPEND gives every byte back, and a UID that stays.
given = {}
for n in names:
    code = ok(m.append("INBOX", None, imaplib.Time2Internaldate(1000000000), files[n]))
    given[n] = int(re.search(rb"APPENDUID \d+ (\d+)", code[0]).group(1))
same(ok(m.select()), [b"%d" % len(names)])
for n in names:
    data = ok(m.uid("FETCH", str(given[n]), "(BODY.PEEK[] RFC822.SIZE INTERNALDATE FLAGS)"))
    # A client sees CRLF whatever APPEND had; the fixtures have it already.
    same(data[0][1], files[n])
    same(int(re.search(rb"RFC822.SIZE (\d+)", data[0][0] + data[1]).group(1)), len(files[n]))
    same(time.mktime(imaplib.Internaldate2tuple(data[0][0] + data[1])), 1000000000)

# Chinese words are found in every charset, sent as a literal and in quotes.
meeting, trad, minutes, name = "会议".encode(), "會議".encode(), "会议纪要".encode(), "王小明".encode()
simple = [given[n] for n in ("gb2312", "gbk", "gb18030", "hz", "utf8", "eai")]
chinese = sorted(simple + [given["big5"]])


def search(*criteria):
    m.literal = criteria[-1]
    return uids(m.uid("SEARCH", "CHARSET", "UTF-8", *criteria[:-1]))


same(search("SUBJECT", meeting), sorted(simple))
same(search("BODY", minutes), sorted(simple))
same(search("TEXT", trad), [given["big5"]])
same(search("FROM", name), chinese)
same(search("NOT", "SUBJECT", meeting), sorted(set(given.values()) - set(simple)))
same(search("TO", "李华".encode()), [given["eai"]])
same(uids(m.uid("SEARCH", "CHARSET", "US-ASCII", "SUBJECT", "lines")), [given["l100k"]])
typ, data = m.uid("SEARCH", "CHARSET", "X-NONE", "SUBJECT", "x")
same((typ, b"BADCHARSET" in data[0]), ("NO", True))
m.literal = "议".encode()  # in the middle of a word, as Chinese has no blanks
same(uids(m.uid("SORT", "(REVERSE SIZE)", "UTF-8", "SUBJECT")), sorted(simple, key=lambda u: -next(len(files[n]) for n in names if given[n] == u)))

# Flags and keywords.
ok(m.uid("STORE", "%d,%d" % (given["gbk"], given["big5"]), "+FLAGS", r"(\Flagged $Label1)"))
ok(m.uid("STORE", str(given["dots"]), "+FLAGS.SILENT", r"(\Seen \Answered)"))
ok(m.uid("STORE", str(given["big5"]), "-FLAGS", r"($Label1)"))
same(uids(m.uid("SEARCH", None, "FLAGGED")), [given["gbk"], given["big5"]])
same(uids(m.uid("SEARCH", None, "KEYWORD", "$Label1")), [given["gbk"]])

# Folders with Chinese names; imaplib leaves modified UTF-7 to its user.
inner = '"&TxqLrg-/&fqqJgQ- &- &g0l6Pw-"'
ok(m.create('"&TxqLrg-"'))
ok(m.create(inner))
ok(m.subscribe(inner))
same(inner.encode() in b" ".join(ok(m.lsub())), True)
ok(m.uid("COPY", ",".join(map(str, simple)), inner))
ok(m.uid("MOVE", str(given["hz"]), '"&TxqLrg-"'))
ok(m.rename('"&TxqLrg-"', '"&mHl27g-"'))
status = ok(m.status('"&mHl27g-/&fqqJgQ- &- &g0l6Pw-"', "(MESSAGES UNSEEN UIDNEXT)"))[0]
same({k: int(v) for k, v in re.findall(rb"([A-Z]+) (\d+)", status)}, {b"MESSAGES": 6, b"UNSEEN": 6, b"UIDNEXT": 7})

# What is deleted goes away at EXPUNGE only, and only that.
ok(m.uid("STORE", "%d,%d" % (given["plain"], given["eight"]), "+FLAGS", r"(\Deleted)"))
same(len(ok(m.uid("FETCH", "1:*", "(UID)"))), len(names) - 1)
ok(m.expunge())
left = [n for n in names if n not in ("plain", "eight", "hz")]
same([int(re.search(rb"UID (\d+)", l).group(1)) for l in ok(m.uid("FETCH", "1:*", "(UID)"))], [given[n] for n in left])
ok(m.close())
ok(m.select("Sent", readonly=True))
typ, data = m.append('"No such folder"', None, None, files["plain"])
same((typ, b"TRYCREATE" in data[0]), ("NO", True))
m.logout()
