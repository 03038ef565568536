# Everything a person does with NovaStream. `make` alone prints this list.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# A folder named `shared` beside the checkout is used when it is there; nothing needs it.
export NOVASTREAM_MODELS ?= $(CURDIR)/.novastream/models
export NOVASTREAM_MIRROR ?= $(wildcard $(abspath $(CURDIR)/../shared/models))
export NOVASTREAM_DATA ?= $(wildcard $(abspath $(CURDIR)/../shared/data))

CARGO ?= cargo
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)
# Where cargo puts what it builds.
TARGET = $(or $(CARGO_TARGET_DIR),target)
TRAIN_DATA = $(NOVASTREAM_DATA)/text/train.jsonl.gz $(NOVASTREAM_DATA)/text/extra_train.jsonl.gz

.PHONY: help
help: ## Print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install what building and running need (Debian packages), and say what
	@scripts/setup.sh

.PHONY: demo
demo: setup ## A real live stream moderated, then a list of recommendations (a minute after the build)
	$(CARGO) build --release -p novastream-api --bins --example demo
	@echo "demo: fetching model artifacts into $(NOVASTREAM_MODELS)"
	$(TARGET)/release/novastream models pull --all || echo "demo: some models could not be fetched; the demo says what that costs"
	$(TARGET)/release/examples/demo

.PHONY: test
test: setup fmt-check lint deny build test-models nextest doctest ## Run every check and test, as CI does

.PHONY: fmt
fmt: ## Format the code
	$(CARGO) fmt --all

.PHONY: fmt-check
fmt-check:
	$(CARGO) fmt --all --check

.PHONY: lint
lint: ## Clippy over everything, warnings denied
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

.PHONY: deny
deny: ## Licences, bans and sources of all dependencies; advisories where reachable
	@scripts/deny.sh

.PHONY: build
build: ## Build everything for development but the benches, which `make lint` checks
	$(CARGO) build --locked --workspace --lib --bins --tests --examples

.PHONY: test-models
test-models: build
	@$(TARGET)/debug/novastream models pull --all || echo "test: models that could not be fetched are skipped by name"

.PHONY: nextest
nextest:
ifneq ($(NEXTEST),)
	$(CARGO) nextest run --locked --workspace --lib --bins --tests --examples
else
	$(CARGO) test --locked --workspace --lib --bins --tests --examples
endif

.PHONY: doctest
doctest:
	$(CARGO) test --locked --workspace --doc

.PHONY: models
models: ## Fetch the third-party model artifacts, verified by hash
	$(CARGO) run --release -p novastream-api -- models pull --all

.PHONY: serve
serve: ## Run the service on 127.0.0.1:8080
	$(CARGO) run --release -p novastream-api -- serve

.PHONY: bench
bench: ## Criterion benches: decode, preprocess, each model, text normaliser
	$(CARGO) bench --locked --workspace --bench '*' -- --noplot

.PHONY: bench-service
bench-service: ## Latency and throughput of the running service (on an idle machine)
	$(CARGO) build --locked --release --workspace --bins
	scripts/bench-service.sh $(TARGET)/release

.PHONY: bench-serving
bench-serving: ## The engine beside FastAPI + onnxruntime and LitServe, the same ONNX files (own venv; BENCH_SECONDS=8 BENCH_ROUNDS=3)
	@scripts/bench-serving/run.sh

.PHONY: bench-swaps
bench-swaps: ## A hundred swaps of the chat models under load: failed requests and memory (BENCH_SECONDS=300)
	@scripts/bench-serving/swaps.sh

.PHONY: bench-streams
bench-streams: models ## How many live streams one service keeps up with (an idle machine; STREAMS_FLAGS="--text")
	$(CARGO) build --release -p novastream-api --bins
	$(CARGO) build --release -p novastream-evals --bins
	$(TARGET)/release/novastream-eval streams --server $(TARGET)/release/novastream --cache out/clips $(STREAMS_FLAGS)

.PHONY: bench-recsys
bench-recsys: ## Recommender beside numpy and implicit; BENCH_MAX_USERS=1000000 for the full growth curve
	@scripts/bench-recsys/run.sh

.PHONY: ablate-recsys
ablate-recsys: ## The ranker trained again without one group of features at a time (a quarter of an hour of processor time)
	$(CARGO) build --release -p novastream-training -p novastream-evals --bins
	scripts/ablate-recsys.sh

.PHONY: train-chat
train-chat: ## Train the chat model on NOVASTREAM_DATA into out/chat
	$(CARGO) run --release -p novastream-training -- chat --data $(TRAIN_DATA) --out out/chat

.PHONY: teach-chat
teach-chat: models ## What the full chat tier says of the training messages (an hour of one core), for --teacher, into out/teacher
	$(CARGO) build --release -p novastream-evals --bins
	mkdir -p out/teacher
	for data in $(TRAIN_DATA); do $(TARGET)/release/novastream-eval chat --tier full --data $$data --scores out/teacher/$$(basename $$data .gz) --json > out/teacher/report.json || exit 1; done

# The shipped 0.3.0: labels and, in their place or beside them, what the full tier says.
.PHONY: train-chat-taught
train-chat-taught: ## Train the fast chat tier with what `make teach-chat` wrote, into out/chat
	$(CARGO) run --release -p novastream-training -- chat --data $(TRAIN_DATA) --teacher $(patsubst %.gz,out/teacher/%,$(notdir $(TRAIN_DATA))) --out out/chat --model-version $(or $(VERSION),0.3.0)

# The shipped encoder joined anew with a fast tier that learned from it.
.PHONY: join-chat-full
join-chat-full: models ## Blend, calibrate and route the shipped full chat tier anew, with what `make teach-chat` wrote, into out/chat-joined
	$(CARGO) run --release -p novastream-training -- chat --tier full --data $(TRAIN_DATA) --teacher $(patsubst %.gz,out/teacher/%,$(notdir $(TRAIN_DATA))) --from $(or $(FROM),models/zoo/chat-minilm/0.3.0) --out out/chat-joined --model-version $(or $(VERSION),0.4.0) --source-balance 0.3 --source-weight $(ON_WEIGHTS) --validation-fraction 0.05 --min-positives 20

.PHONY: eval-chat
eval-chat: ## Evaluate the shipped fast tier on the eval files of NOVASTREAM_DATA; a page in out/chat-fast.html
	mkdir -p out
	$(CARGO) run --release -p novastream-evals -- chat --evasion --html out/chat-fast.html --data $(wildcard $(NOVASTREAM_DATA)/text/eval/*.jsonl.gz $(NOVASTREAM_DATA)/text/extra_eval.jsonl.gz) --json

# Balance of the full tier's sources; those with weight 0 are other languages or copies of another.
FULL_WEIGHTS = jigsaw=1.5 suicidewatch=0 tg_ru_spam=0 vitd_bn=0 reddit_topic=0.1 reddit_spoiler=0.4 got_tweets=0.4 misogyny=0.4 cyberpolice=0.6 sms5971=0.4 sms=0.6 alpaca_harmless=0.5 i2p=0.6 suicide_tw=0.7

.PHONY: train-chat-full
train-chat-full: models ## Train the full chat tier (hours; goes on where it was stopped) into out/chat-full
	$(CARGO) run --release -p novastream-training -- chat --tier full --data $(TRAIN_DATA) --out out/chat-full --steps $(or $(STEPS),1400) --source-balance 0.3 --source-weight $(FULL_WEIGHTS) --validation-fraction 0.05 --min-positives 20

# The shipped 0.3.0: on from 0.2.0, with more sentences that deny and quote (counterfactual=1.5). 0.2.0 went on from
# 0.1.0 in 900 steps with half the weight of the fewer sentences of its time.
ON_WEIGHTS = jigsaw=1.1 suicidewatch=0 tg_ru_spam=0 vitd_bn=0 reddit_topic=0.06 reddit_spoiler=0.3 got_tweets=0.25 misogyny=0.4 cyberpolice=0.6 sms5971=0.4 sms=0.5 alpaca_harmless=0.5 i2p=0.4 suicide_tw=0.4 conda=2.2 gametox=1.8 hatemoji=1.5 davidson=0.6 edos=1.2 counterfactual=1.5 ytspam=0.7

.PHONY: train-chat-on
train-chat-on: models ## Train the shipped full chat tier further (an hour of one core) into out/chat-full
	$(CARGO) run --release -p novastream-training -- chat --tier full --data $(TRAIN_DATA) --out out/chat-full --model-version $(or $(VERSION),0.3.0) --warm-start $(or $(FROM),models/zoo/chat-minilm/0.2.0) --steps $(or $(STEPS),800) --encoder-learning-rate 7e-5 --checkpoint-every 100 --patience 100 --source-balance 0.3 --source-weight $(ON_WEIGHTS) --validation-fraction 0.05 --min-positives 20

.PHONY: eval-chat-full
eval-chat-full: models ## Evaluate the full tier beside the others on the eval files of NOVASTREAM_DATA; pages in out/
	mkdir -p out
	$(CARGO) run --release -p novastream-evals -- chat --tier full --all-tiers --html out/chat-full.html --data $(wildcard $(NOVASTREAM_DATA)/text/eval/*.jsonl.gz) --json
	$(CARGO) run --release -p novastream-evals -- chat --tier cascade --html out/chat-cascade.html --data $(wildcard $(NOVASTREAM_DATA)/text/eval/*.jsonl.gz) --json

.PHONY: openapi
openapi: ## Regenerate api/openapi.json
	NOVASTREAM_WRITE_OPENAPI=1 $(CARGO) test -p novastream-api --test openapi

.PHONY: clean
clean: ## Remove what was built; models and data stay
	$(CARGO) clean
