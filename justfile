# Thin aliases: everything here can be typed by hand, nothing lives only here.

# What CI runs.
check:
    bash .ci/run

# The README's test command.
test:
    cargo test

# More worlds for the simulation: just sim 1000000
sim seeds="20000":
    EVERUP_SEEDS={{seeds}} cargo test --release --test sim

# The example, as the README shows it.
demo:
    cargo run --release -- up -c supervisor.example.yaml

# Fuzzes every place where bytes of others are read, three minutes each: just fuzz control
fuzz *targets:
    tests/fuzz/run {{targets}}

lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
