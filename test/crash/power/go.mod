module powercut

go 1.26.0

require (
	github.com/hanwen/go-fuse/v2 v2.8.0
	golang.org/x/sys v0.49.0
	posthaste v0.0.0
)

replace posthaste => ../../..
