"""Uses Roundcube as a browser does: log in, list, open, search, file, send.

usage: roundcube.py URL USER

The INBOX has the messages plain, gb2312, gbk, gb18030, big5, hz, utf8.
"""
import http.cookiejar
import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

url, user = sys.argv[1:3]
opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
token = ""


def page(query, form=None, ajax=False):
    """Requests a page, or what a script asks for, which is JSON."""
    if ajax:
        query["_remote"] = 1
    data = urllib.parse.urlencode(form).encode() if form is not None else None
    request = urllib.request.Request(url + "/?" + urllib.parse.urlencode(query), data)
    if ajax:
        request.add_header("X-Requested-With", "XMLHttpRequest")
        request.add_header("X-Roundcube-Request", token)
    try:
        with opener.open(request, timeout=60) as r:
            text = r.read().decode()
    except urllib.error.HTTPError as e:
        assert e.code == 401, e.read()
        text = e.read().decode()
    if not ajax:
        return text
    answer = json.loads(text)
    for kind in ('"error"', '"warning"'):
        assert kind not in answer.get("exec", ""), answer
    return answer


def need(text, *parts):
    for p in parts:
        assert p in text, "no %r in %s" % (p, " ".join(re.findall(r"(?:display_message|add_message_row|<title)[^\n]{0,2000}", text)) or text[:1000])


def rows(answer):
    """The messages of a list, UID: columns."""
    return {int(m[1]): json.loads(m[2]) for m in re.finditer(r'add_message_row\((\d+),(\{.*?\}),\{', answer["exec"])}


def listed(mbox, **more):
    return rows(page(dict(_task="mail", _action="list", _mbox=mbox, **more), ajax=True))


for _ in range(100):
    try:
        login = page({"_task": "login"})
        break
    except OSError:
        time.sleep(0.1)
token = re.search(r'name="_token" value="([^"]+)"', login)[1]
home = page({"_task": "login"}, {"_token": token, "_task": "login", "_action": "login", "_timezone": "Asia/Shanghai", "_url": "", "_user": user, "_pass": "wrong"})
need(home, "Login failed")
token = re.search(r'"request_token":"([^"]+)"', home)[1]
home = page({"_task": "login"}, {"_token": token, "_task": "login", "_action": "login", "_timezone": "Asia/Shanghai", "_url": "", "_user": user, "_pass": "test"})
need(home, '"task":"mail"')
token = re.search(r'"request_token":"([^"]+)"', home)[1]
need(home, "rel=\"INBOX\"", "rel=\"Drafts\"", "rel=\"Sent\"", "rel=\"Junk\"", "rel=\"Trash\"")

# The list shows subjects of every charset as they are meant.
subjects = {u: r["subject"] for u, r in listed("INBOX").items()}
for want in ("a plain message", "关于下周会议的通知", "朱镕基会议喆", "镕基㐀会议𠀀", "關於下週會議的通知"):
    need(" | ".join(subjects.values()), want)
uid = {}
for u, s in subjects.items():
    uid.setdefault(s, u)
newest = list(subjects)[0]
assert newest == max(subjects), subjects

for subject, body in (("关于下周会议的通知", "附上会议纪要，请查收。"), ("朱镕基会议喆", "镕、喆、囍：GBK 才有的字。"), ("镕基㐀会议𠀀", "𠮷野家"), ("關於下週會議的通知", "附上會議紀要")):
    for u in (u for u, s in subjects.items() if s == subject):
        shown = page({"_task": "mail", "_action": "show", "_uid": u, "_mbox": "INBOX"})
        need(shown, subject, body, "王小明")

# Search, in the subject and in the text: the server does it.
for word, headers, count in (("会议", "subject", 5), ("会议纪要", "text", 5), ("會議", "subject", 1), ("王小明", "from", 6), ("no such word", "text", 0)):
    found = rows(page({"_task": "mail", "_action": "search", "_q": word, "_headers": headers, "_scope": "base", "_mbox": "INBOX", "_interval": ""}, ajax=True)) if count else {}
    assert len(found) == count, (word, found)

# Sorted and threaded by the server.
by_subject = [r["subject"] for r in listed("INBOX", _sort="subject_ASC").values()]
assert by_subject[0] == "a plain message", by_subject
page({"_task": "mail", "_action": "list", "_mbox": "INBOX", "_layout": "widescreen", "_threads": 1}, ajax=True)
page({"_task": "mail", "_action": "list", "_mbox": "INBOX", "_threads": 0}, ajax=True)

# Folders: make one, file a message there, delete another, flag a third.
made = page({"_task": "settings", "_action": "save-folder", "_framed": 1}, {"_token": token, "_name": "会议", "_parent": "", "_mbox": "", "_framed": 1, "_task": "settings", "_action": "save-folder", "_viewmode": 0})
need(made, "Folder created successfully")


def act(action, **form):
    return page({"_task": "mail", "_action": action}, dict(form, _mbox="INBOX"), ajax=True)


act("move", _uid=uid["朱镕基会议喆"], _target_mbox="&TxqLrg-")
act("copy", _uid=uid["關於下週會議的通知"], _target_mbox="&TxqLrg-")
act("move", _uid=uid["a plain message"], _target_mbox="Trash")
act("mark", _uid=uid["關於下週會議的通知"], _flag="flagged")
assert sorted(r["subject"] for r in listed("&TxqLrg-").values()) == sorted(["朱镕基会议喆", "關於下週會議的通知"])

# A draft, then the message itself.
compose = page({"_task": "mail", "_action": "compose"})
form = dict(re.findall(r'<input type="hidden" name="(_[a-z_]+)" value="([^"]*)"', compose))
form["_id"] = re.search(r'"compose_id":"([^"]+)"', compose)[1]
form.update(_token=token, _task="mail", _action="send", _from=re.search(r'<select name="_from".*?<option value="(\d+)"', compose, re.S)[1],
            _to="李华 <李华@local.test>, somebody@sink.test", _subject="会议改期", _message="会议改到周五。\n", _is_html=0, _store_target="Sent", _draft_saveid="", _framed=1)
draft = page({"_task": "mail", "_action": "send"}, dict(form, _draft=1))
need(draft, "Message saved to Drafts")
form["_draft_saveid"] = re.search(r'set_draft_id\("?([^")]+)', draft)[1] if "set_draft_id" in draft else ""
need(page({"_task": "mail", "_action": "send"}, dict(form, _draft="")), "Message sent successfully")
need(page({"_task": "logout", "_token": token}), "terminated the session")
