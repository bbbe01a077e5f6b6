// Postmap compiles lookup tables, and queries and changes them.
//
// Usage:
//
//	postmap [-bfFhijmnNoprsuUvw] [-c config_dir] [-d key] [-q key] [type:]file...
//
// Without -d, -i, -q or -s, each file is compiled into an index that daemons
// can search: file.cdb, for the types cdb, hash, btree, lmdb, dbm and sdbm alike.
// Without a type, $default_database_type is used. The source has one entry a
// line, "key value". A line that starts with white space continues the one
// before; empty lines and lines that begin with "#" are comments. A key with
// blanks is written in double quotes, which belong to it. Keys are folded to
// lower case.
//
// The new index appears under its name complete and on stable storage, or not at
// all. Running daemons notice it within a second; none needs a reload.
//
// Options:
//
//	-b          with "-q -": standard input is a message; query its body lines
//	-c dir      configuration directory, in place of $MAIL_CONFIG and the default
//	-d key      delete a key from each table; "-" reads keys from standard input
//	-f          do not fold keys to lower case
//	-F          a value is a list of files; the index gets their content (base64),
//	            and -q and -s print it
//	-h          with "-q -": standard input is a message; query its header fields
//	-i          add entries from standard input to an index
//	-j          print results as JSON, one object a line
//	-m          with -h or -b: understand MIME, so that headers of parts and of
//	            attached messages are headers
//	-n, -N      end keys and values without (the default) or with a NUL byte
//	-o          as root, do not run with the rights of the source file's owner
//	-p          do not copy the source file's permissions to the index
//	-q key      print the value of a key in the first table that has it; "-" reads
//	            keys from standard input and prints key, tab, value
//	-r          a later entry replaces an earlier one with the same key
//	-s          print all entries: key, tab, value
//	-u, -U      do not ask for UTF-8 in the source, or do
//	-v          log more
//	-w          do not warn about entries with the same key, of which the first
//	            counts
//
// -q works with every type of table; -d and -i with indexed ones; -s with those
// that can be listed.
//
// # Security
//
// As root, postmap takes on the user and group of the source file's owner while
// it builds, so that the index belongs to the same user.
//
// # Diagnostics
//
// Lines that cannot be used are reported with file and line, and skipped. All
// problems are reported on standard error and in the log. The exit status is 1
// after an error, and when -q or -d found nothing; else 0.
//
// # Files
//
//	file        source text
//	file.cdb    index
//	main.cf     default_database_type
package main

import (
	"os"

	"posthaste/pkg/tablebuild"
)

func main() {
	t := tablebuild.Tool{Name: "postmap", Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(t.Main(os.Args[1:]))
}
