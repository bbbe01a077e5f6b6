// Package conf holds the stock configuration files, as the package installs
// them: main.cf, master.cf and a commented sample of each kind of table.
package conf

import "embed"

// MainCF is the stock main.cf.
//
//go:embed main.cf
var MainCF string

// MasterCF is the stock master.cf.
//
//go:embed master.cf
var MasterCF string

// Tables holds the sample tables, which stand beside main.cf. All but aliases
// and header_checks are sources for postmap(1); aliases is one for postalias(1).
//
//go:embed access aliases canonical generic header_checks relocated transport virtual
var Tables embed.FS
