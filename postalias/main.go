// Postalias compiles alias files for local(8), and queries and changes them.
//
// Usage:
//
//	postalias [-fijnNoprsuvw] [-c config_dir] [-d key] [-q key] [[type:]file...]
//
// Without -d, -i, -q or -s, each alias file is compiled into an index that
// local(8) can search: file.cdb, for the types cdb, hash, btree, lmdb, dbm and
// sdbm alike. Without a type, $default_database_type is used; without a file,
// those in $alias_database (that is what newaliases does). The source has
// entries of the form "name: value, value, ...", where a value is an address, a
// file name that begins with "/", a command "|command", or ":include:/file". A
// name or value with special characters is written in double quotes. A line that
// starts with white space continues the one before; empty lines and lines that
// begin with "#" are comments. Names are folded to lower case.
//
// The new index appears under its name complete and on stable storage, or not at
// all. Running daemons notice it within a second; none needs a reload.
//
// Options:
//
//	-c dir      configuration directory, in place of $MAIL_CONFIG and the default
//	-d key      delete a key from each table; "-" reads keys from standard input
//	-f          do not fold keys to lower case
//	-i          add entries from standard input to an index
//	-j          print results as JSON, one object a line
//	-n, -N      end keys and values without (the default) or with a NUL byte
//	-o          as root, do not run with the rights of the source file's owner
//	-p          do not copy the source file's permissions to the index
//	-q key      print the value of a key in the first table that has it; "-" reads
//	            keys from standard input and prints key, ":", tab, value
//	-r          a later entry replaces an earlier one with the same name
//	-s          print all entries: key, ":", tab, value
//	-u          do not ask for UTF-8 in the source
//	-v          log more
//	-w          do not warn about entries with the same name, of which the first
//	            counts
//
// # Security
//
// As root, postalias takes on the user and group of the source file's owner while
// it builds, so that the index belongs to the same user. Commands in an alias
// file run with the rights of that user.
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
//	main.cf     default_database_type, alias_database
package main

import (
	"os"

	"posthaste/pkg/tablebuild"
)

func main() {
	t := tablebuild.Tool{Name: "postalias", Alias: true, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(t.Main(os.Args[1:]))
}
