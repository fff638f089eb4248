# auth_ext: build, test, install. `make help` lists what there is; the work stands in tests/.

SHELL = /bin/bash
PG_CONFIG ?= pg_config
PG ?= 15 18

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 22

demo: ## a tour on one screen; installs what is missing
	@tests/demo

bench: ## what the extension costs, into docs/costs.md (three runs, half an hour)
	@tests/benchmark full

bench-quick: ## the same on the screen, roughly (a minute)
	@tests/benchmark quick

test: ## all tests, on PostgreSQL 15 and 18; PG=15 for one of them (16, 17: also there)
	@tests/run checks $(PG)

test-all: ## the same on 15 to 18, with the long random schedules of the clients, and from 15 to 18 by pg_upgrade
	@AUTH_EXT_LONG=1 tests/run checks 15 16 17 18
	@tests/pg-upgrade

test-ha: ## failovers under load: Patroni, etcd and PgBouncer, three nodes; PG=18 for another major (10 minutes)
	@tests/failover $(firstword $(PG))

fuzz: ## what reads tokens, keys and other foreign input, a minute each; TARGET=jwks SECONDS=600 for one of them
	@tests/fuzz '$(or $(TARGET),all)' '$(or $(SECONDS),60)'

install: ## build for PG_CONFIG's server and install there
	@tests/install '$(PG_CONFIG)'

installcheck: ## regression tests on the running server of PGHOST, PGPORT; PG_CONFIG is its
	@tests/regress '$(PG_CONFIG)' target/installcheck

package: ## Debian packages, tarballs, the PGXN distribution, an SBOM and checksums, in target/package
	@packaging/package $(MAJORS)

package-test: ## install them in a fresh Debian and by extension_control_path (as root)
	@packaging/test

generated: ## make anew what is made from sql/: the upgrade script (see sql/upgrade/README.md), docs/reference.md
	@packaging/upgrade-script
	@packaging/reference

deny: ## licences and advisories of the dependencies
	@tests/deny

clean: ## remove what was built here; the cache of tests/lib.sh stays
	cargo clean

.PHONY: help demo bench bench-quick test test-all test-ha fuzz install installcheck package package-test generated deny clean
