"""A session with Python's poplib: every message byte by byte, deletion, and
what a session that is cut off leaves.

usage: pop.py STLS-PORT TLS-PORT USER CERTIFICATE DIR NAME...

The mailbox holds the files NAME... of DIR; the second and the last are deleted.
"""
import poplib
import ssl
import sys

poplib._MAXLINE = 200000  # its limit of 2048 bytes is its own
port, tls_port, user, cert, folder = sys.argv[1:6]
names = sys.argv[6:]
files = [open(folder + "/" + n, "rb").read() for n in names]
context = ssl.create_default_context(cafile=cert)


def same(got, want):
    assert got == want, "got %r, want %r" % (got, want)


def body(lines):
    return b"".join(l + b"\r\n" for l in lines)


p = poplib.POP3("localhost", int(port))
same("STLS" in p.capa(), True)
p.stls(context=context)
p.user(user)
p.pass_("test")
uidl = p.uidl()[1]
same(len(uidl), len(names))
p.dele(1)
p.rset()
p.dele(3)
p.close()  # without QUIT: nothing is deleted

p = poplib.POP3_SSL("localhost", int(tls_port), context=context)
caps = p.capa()
same([c in caps for c in ("TOP", "UIDL", "PIPELINING", "UTF8")], [True] * 4)
p.utf8()
p.user(user)
p.pass_("test")
same(p.uidl()[1], uidl)
count, size = p.stat()
same(count, len(names))
total = 0
for i, line in enumerate(p.list()[1], 1):
    n, octets = map(int, line.split())
    text = body(p.retr(i)[1])
    same((n, octets), (i, len(text)))
    total += octets
    want = files[i - 1] if files[i - 1].endswith(b"\r\n") else files[i - 1] + b"\r\n"
    same(text[-len(want):], want)
    head, _, rest = text.partition(b"\r\n\r\n")
    same(body(p.top(i, 1)[1]), head + b"\r\n\r\n" + rest.split(b"\r\n")[0] + b"\r\n")
same(size, total)
p.dele(2)
p.dele(len(names))
same(p.stat()[0], len(names) - 2)
try:
    p.retr(2)
    raise SystemExit("a deleted message was shown")
except poplib.error_proto:
    pass
p.quit()

p = poplib.POP3_SSL("localhost", int(tls_port), context=context)
p.user(user)
p.pass_("test")
same([l.split()[1] for l in p.uidl()[1]], [l.split()[1] for i, l in enumerate(uidl) if i not in (1, len(names) - 1)])
p.quit()
