<?php
// A session with PHP's imap extension, which is the c-client library of alpine
// and UW IMAP. Results are checked here. Its STARTTLS offers TLS 1.0 alone,
// which nobody takes any more.
//
// usage: imap.php IMAPS-PORT POP3S-PORT USER DIR
[, $imaps, $pop3s, $user, $dir] = $argv;
set_error_handler(function ($no, $text) { throw new Exception($text); });
function same($got, $want) {
    if ($got !== $want) throw new Exception('got ' . json_encode($got, JSON_UNESCAPED_UNICODE) . ', want ' . json_encode($want, JSON_UNESCAPED_UNICODE));
}
$names = ['plain', 'dots', 'eight', 'l100k', 'gb2312', 'gbk', 'gb18030', 'big5', 'hz', 'utf8', 'eai', 'multi'];
$at = "{localhost:$imaps/imap/ssl/novalidate-cert}";
$m = imap_open($at . 'INBOX', $user, 'test', 0, 1);
foreach ($names as $n) imap_append($m, $at . 'INBOX', file_get_contents("$dir/$n"), '\\Flagged', '09-Sep-2001 01:46:40 +0000');
imap_close($m);

$m = imap_open($at . 'INBOX', $user, 'test', 0, 1);
same(imap_num_msg($m), count($names));
foreach ($names as $i => $n) {
    $text = file_get_contents("$dir/$n");
    same(imap_fetchheader($m, $i + 1) . imap_body($m, $i + 1, FT_PEEK), $text);
    $o = imap_fetch_overview($m, $i + 1)[0];
    same([$o->uid, $o->size, $o->seen, $o->flagged, $o->message_id, $o->udate], [$i + 1, strlen($text), 0, 1, "<$n@client.test>", 1000000000]);
}
$s = imap_fetchstructure($m, count($names));
$type = fn($p) => $p->type . '/' . $p->subtype;
same(array_map($type, $s->parts), ['1/ALTERNATIVE', '3/PDF', '0/PLAIN', '2/RFC822']);
same(array_map($type, $s->parts[0]->parts), ['0/PLAIN', '0/HTML']);
same($s->parts[2]->parameters[0]->value, 'a "quoted" \\ name.txt');
same(mb_decode_mimeheader($s->parts[1]->parameters[0]->value), '会议纪要.pdf');
same(iconv('GBK', 'UTF-8', base64_decode(imap_fetchbody($m, count($names), '1.1', FT_PEEK))), "附件是会议纪要。\r\n");
same(imap_fetchbody($m, count($names), '4.1', FT_PEEK), 'in the inner message');
$h = imap_headerinfo($m, count($names));
same([$h->from[0]->mailbox, $h->from[0]->personal, $h->reply_to[0]->mailbox, $h->in_reply_to], ['wang', 'Wang, "Xiaoming"', 'group', '<gbk@client.test>']);

$simple = [5, 6, 7, 9, 10, 11, 12];
same(imap_search($m, 'SUBJECT "会议"', SE_UID, 'UTF-8'), $simple);
same(imap_search($m, 'BODY "會議紀要"', SE_UID, 'UTF-8'), [8]);
$sorted = imap_sort($m, SORTSIZE, 1, SE_UID, 'SUBJECT "会议"', 'UTF-8');
same([count($sorted), $sorted[0]], [7, 12]);
same(count(imap_thread($m, SE_UID)) > 0, true);
$folder = mb_convert_encoding('会议', 'UTF7-IMAP', 'UTF-8');
imap_createmailbox($m, $at . $folder);
imap_subscribe($m, $at . $folder);
same(count(preg_grep('/' . preg_quote($folder) . '$/', imap_list($m, $at, '*'))), 1);
same(count(preg_grep('/' . preg_quote($folder) . '$/', imap_lsub($m, $at, '*'))), 1);
imap_mail_copy($m, '5,6', $folder, CP_UID);
imap_mail_move($m, '7', $folder, CP_UID);
imap_setflag_full($m, '1:2', '\\Seen \\Answered', ST_UID);
imap_clearflag_full($m, '2', '\\Flagged', ST_UID);
imap_delete($m, '3', FT_UID);
imap_expunge($m);
same([imap_num_msg($m), imap_uid($m, 6)], [10, 8]);
$st = imap_status($m, $at . $folder, SA_ALL);
same([$st->messages, $st->unseen, $st->uidnext], [3, 3, 4]);
imap_close($m);

// The same mailbox by POP3.
$p = imap_open("{localhost:$pop3s/pop3/ssl/novalidate-cert}INBOX", $user, 'test', 0, 1);
same(imap_num_msg($p), 10);
same(imap_fetchheader($p, 1) . imap_body($p, 1), file_get_contents("$dir/plain"));
imap_delete($p, '2');
imap_close($p, CL_EXPUNGE);
same(imap_errors(), false);
