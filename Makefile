# Posthaste: build, try and test. Needs Go, git and make, nothing else.

GO       ?= $(shell command -v go || echo /usr/local/go/bin/go)
export CGO_ENABLED = 0
BIN      := bin
LDFLAGS  := -s -w
# Every top-level folder with a main package is a program.
PROGRAMS := $(sort $(patsubst %/main.go,%,$(wildcard */main.go)))

.PHONY: all build run stop test check fmt generate clean fuzz crash soak bench interop system

all: build

# Puts every program into bin/.
build:
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ $(addprefix ./,$(PROGRAMS))
	@ln -sf sendmail $(BIN)/mailq
	@ln -sf sendmail $(BIN)/newaliases

# Builds everything and starts a complete mail server on loopback.
run: build
	@test/run.sh

stop:
	@test/run.sh stop

# Builds and passes all tests.
test: build check
	$(GO) test -count=1 -p 2 -timeout 8m ./...

check:
	@out=$$(gofmt -l $(addsuffix /*.go,$(PROGRAMS)) pkg conf test tools); test -z "$$out" || { echo "not gofmt-ed: $$out"; exit 1; }
	$(GO) vet ./...

# Rewrites what is made from the sources.
generate:
	$(GO) generate ./pkg/params
	$(GO) generate ./tools/mkman

fuzz:
	@test/fuzz.sh $(FUZZTIME)

crash: build
	@test/crash/run.sh

soak: build
	@test/soak/run.sh

bench: build
	@test/bench/run-all.sh

interop: build
	@test/interop/run.sh

clean:
	rm -rf $(BIN)
