//! One measurement of one contender, told as one JSON object: what `benches/run` calls again and again.
//!
//! ```text
//! contend <family> <contender> [<name>=<value> …]
//! ```
//!
//! A family is a kind of work (`table`, `relay`, `fleet` …), a contender is `senza` or a rival that does that work, and
//! the names and values are the scenario's. Every contender of a family does the same work and answers the same
//! [`Answer`]; which rounds are run in which order, and what is made of the numbers, is not decided here.

use std::process::ExitCode;

use senza_benches::child_args;

mod answer;
mod discovery;
mod fan;
mod fanout;
mod fleet;
mod frames;
mod latency;
mod memory;
mod paced;
mod processes;
mod relay;
mod slow;
mod table;
mod trucks;
mod wires;

use answer::{Answer, Params};

/// A family: its name, its contenders, what measures one, and what a process does that it started for that.
struct Family {
    name: &'static str,
    contenders: &'static [&'static str],
    run: fn(&str, &Params) -> Answer,
    child: fn(&[String]),
}

const FAMILIES: &[Family] = &[
    table::FAMILY,
    fanout::FAMILY,
    memory::FAMILY,
    relay::FAMILY,
    frames::FAMILY,
    fan::FAMILY,
    latency::FAMILY,
    fleet::FAMILY,
    slow::FAMILY,
    discovery::FAMILY,
];

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the answer is what this program is for")]
fn main() -> ExitCode {
    // The first word of a child names its family.
    if let Some(args) = child_args() {
        let family = FAMILIES.iter().find(|family| args.first().is_some_and(|name| name == family.name));
        let Some(family) = family else { return ExitCode::from(2) };
        (family.child)(&args[1..]);
        return ExitCode::SUCCESS;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [family, contender, params @ ..] = args.as_slice() else {
        eprintln!("contend: needs a family and a contender; families:");
        FAMILIES.iter().for_each(|family| eprintln!("  {}: {}", family.name, family.contenders.join(" ")));
        return ExitCode::from(2);
    };
    let found = FAMILIES.iter().find(|known| known.name == family);
    let Some(found) = found.filter(|known| known.contenders.contains(&contender.as_str())) else {
        eprintln!("contend: no contender {contender} in a family {family}");
        return ExitCode::from(2);
    };
    match Params::parse(params) {
        Ok(params) => {
            let answer = (found.run)(contender, &params);
            if let Some(unknown) = params.untouched() {
                eprintln!("contend: {family} {contender} knows no parameter {unknown}");
                return ExitCode::from(2);
            }
            println!("{}", answer.told());
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            eprintln!("contend: {wrong}: parameters are name=value");
            ExitCode::from(2)
        }
    }
}
