"""Shows a message as Python's email package reads it: From, To, Subject, text.

usage: show.py < MESSAGE
"""
import email
import email.policy
import sys

m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
print(m["From"], m["To"], m["Subject"], sep="\n")
print(m.get_body(("plain", "html")).get_content())
