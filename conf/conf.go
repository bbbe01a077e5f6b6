// Package conf holds the stock configuration files, as the package installs
// them.
package conf

import _ "embed"

// MainCF is the stock main.cf.
//
//go:embed main.cf
var MainCF string

// MasterCF is the stock master.cf.
//
//go:embed master.cf
var MasterCF string
