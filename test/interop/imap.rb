# A session with Ruby's Net::IMAP, whose parser is strict: every kind of
# response it knows.
#
# usage: imap.rb STARTTLS-PORT TLS-PORT USER CERTIFICATE DIR
require "net/imap"
require "time"

port, tls_port, user, cert, dir = ARGV
names = %w[plain dots noend eight l100k gb2312 gbk gb18030 big5 hz utf8 eai multi]
files = names.to_h { |n| [n, File.binread("#{dir}/#{n}")] }
tls = { ca_file: cert, verify_mode: OpenSSL::SSL::VERIFY_PEER }

def same(got, want)
  raise "got #{got.inspect}, want #{want.inspect}" unless got == want
end

m = Net::IMAP.new("localhost", port: port)
m.starttls(tls)
m.authenticate("PLAIN", user, "test")
m.logout
m = Net::IMAP.new("localhost", port: tls_port, ssl: tls)
m.login(user, "test")
raise "no IDLE" unless m.capability.include?("IDLE")
names.each { |n| m.append("INBOX", files[n], [:Flagged], Time.at(1_000_000_000)) }
m.select("INBOX")
same(m.responses["EXISTS"].last, names.size)
all = m.uid_fetch(1..-1, %w[FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY BODY.PEEK[] BODY.PEEK[HEADER.FIELDS\ (SUBJECT\ DATE)]])
same(all.map { |f| f.attr["UID"] }, (1..names.size).to_a)
all.zip(names) do |f, n|
  same(f.attr["BODY[]"].b, files[n])
  same(f.attr["RFC822.SIZE"], files[n].size)
  same(f.attr["FLAGS"].include?(:Flagged), true)
  same(Time.parse(f.attr["INTERNALDATE"]).to_i, 1_000_000_000)
  same(f.attr["ENVELOPE"].message_id, "<#{n}@client.test>")
  same(f.attr["BODYSTRUCTURE"].media_type, n == "multi" ? "MULTIPART" : "TEXT")
end
e = all.last.attr["ENVELOPE"]
same(e.from.map { |a| [a.name, a.mailbox, a.host] }, [["Wang, \"Xiaoming\"", "wang", "client.test"], [e.from[1].name, "xm", "client.test"]])
same(e.reply_to.map(&:mailbox), ["group", "a", "b", nil])
same(e.sender[0].mailbox, "sec")
same(e.in_reply_to, "<gbk@client.test>")
b = all.last.attr["BODYSTRUCTURE"]
same([b.subtype, b.param, b.parts.map(&:subtype)], ["MIXED", { "BOUNDARY" => "outer \\ (x)" }, %w[ALTERNATIVE PDF PLAIN RFC822]])
same(b.parts[1].disposition.param["SIZE"], "4")
same(b.parts[1].content_id, "<pdf@client.test>")
same(b.parts[2].param["NAME"], "a \"quoted\" \\ name.txt")
same(b.parts[3].envelope.subject, "inner")
same(b.parts[3].body.parts[0].size, "in the inner message".size)
{ "1.1" => "GBK", "1.2" => "<p>", "2" => "JVBERg==", "4.1" => "in the inner message", "4.HEADER" => "Subject: inner" }.each do |part, want|
  got = m.fetch(names.size, "BODY.PEEK[#{part}]")[0].attr["BODY[#{part}]"]
  raise "#{part}: #{got}" unless part == "1.1" || got.include?(want)
end

simple = [6, 7, 8, 10, 11, 12, 13] # have the word in the subject
same(m.uid_search(["SUBJECT", "会议".b], "UTF-8"), simple)
same(m.search(["BODY", "会议纪要".b, "NOT", "FROM", "xm"], "UTF-8"), [6, 7, 8, 10, 11, 12])
same(m.sort(["REVERSE", "SIZE"], ["SEEN"], "US-ASCII"), [])
same(m.uid_sort(["SUBJECT"], ["SUBJECT", "会议".b], "UTF-8").sort, simple)
same(m.thread("REFERENCES", ["ALL"], "UTF-8").flat_map { |t| [t.seqno] + t.children.map(&:seqno) }.compact.sort.first(5), (1..5).to_a)
folder = Net::IMAP.encode_utf7("会议")
m.create(folder)
m.subscribe(folder)
same(m.list("", "*").map(&:name).include?(folder), true)
same(m.lsub("", "*").map(&:name).include?(folder), true)
m.uid_copy([6, 7], folder)
m.uid_move([8, 9], folder)
same(m.status(folder, %w[MESSAGES RECENT UIDNEXT UNSEEN])["MESSAGES"], 4)
same(m.store(1..2, "+FLAGS", [:Deleted, "Work"]).map { |f| f.attr["FLAGS"].include?("Work") }, [true, true])
same(m.expunge.size, 4) # the two that were moved are among them
same(m.getquotaroot("INBOX").first.mailbox, "INBOX")
other = Net::IMAP.new("localhost", port: tls_port, ssl: tls)
other.login(user, "test")
count = nil
m.idle(20) do |r|
  if r.respond_to?(:raw_data) && r.is_a?(Net::IMAP::ContinuationRequest)
    Thread.new { other.append("INBOX", files["plain"], [:Seen]) }
  elsif r.respond_to?(:name) && r.name == "EXISTS"
    count = r.data
    m.idle_done
  end
end
same(count, names.size - 3)
m.unselect if m.respond_to?(:unselect)
m.logout
