"""Sends a file with Python's smtplib.

usage: send.py HOST:PORT plain|starttls|ssl SENDER RECIPIENT FILE [USER PASSWORD]
"""
import smtplib
import ssl
import sys

addr, mode, sender, rcpt, name = sys.argv[1:6]
host, port = addr.rsplit(":", 1)
data = open(name, "rb").read()
tls = ssl.create_default_context()
tls.check_hostname = False
tls.verify_mode = ssl.CERT_NONE
if mode == "ssl":
    s = smtplib.SMTP_SSL(host, int(port), "client.test", timeout=100, context=tls)
else:
    s = smtplib.SMTP(host, int(port), "client.test", timeout=100)
if mode == "starttls":
    s.starttls(context=tls)
if mode != "plain":
    s.login(sys.argv[6], sys.argv[7])
options = ["BODY=8BITMIME"] if s.has_extn("8bitmime") else []
if not (sender + rcpt).isascii():
    options.append("SMTPUTF8")
refused = s.sendmail(sender, [rcpt], data, mail_options=options)
s.quit()
sys.exit(1 if refused else 0)
