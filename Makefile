# Each target is one plain command. `make demo` runs the system on this machine,
# `make check` passes the tests.

.PHONY: demo check deps build packages fmt vet staticcheck tidy test race bars peers fuzz fresh clean

demo:
	go run ./cmd/pf9-demo

check: deps fmt vet staticcheck tidy test race

# What the tests need beside Go: a libvirt daemon, QEMU, Open vSwitch's database.
deps:
	./packaging/deps.sh

build:
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o bin/ ./cmd/...

# The gateway as a deb and an rpm, in dist.
VERSION ?= 0.1.0
packages: build
	mkdir -p dist
	go build -C packaging/tools -o $(CURDIR)/bin/nfpm github.com/goreleaser/nfpm/v2/cmd/nfpm
	for p in deb rpm; do BIN=bin ARCH=$$(go env GOARCH) VERSION=$(VERSION) bin/nfpm package --config packaging/gateway/nfpm.yaml --packager $$p --target dist/ || exit 1; done

fmt:
	test -z "$$(go tool gofumpt -l . | tee /dev/stderr)"

vet:
	go vet ./...

staticcheck:
	go tool staticcheck ./...

tidy:
	go mod tidy -diff

test:
	go test -shuffle=on ./...

race:
	go test -race ./...

# The bars of the whole system, against real daemons. Minutes, not seconds.
bars:
	go run ./internal/bench/bars

# The tunnel beside its peers, in a module of its own.
peers:
	go -C internal/bench/tunnelpeers run .

# Every fuzz target, a minute each.
fuzz:
	go run ./internal/bench/fuzzall

# The README's two commands on a clean Debian, in a container. Needs root.
fresh:
	./packaging/fresh.sh

clean:
	rm -rf bin
