package e2e

import (
	"os"
	"testing"

	"posthaste/test/tools/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
