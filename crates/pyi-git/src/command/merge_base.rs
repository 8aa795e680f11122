//! `git merge-base`.

use super::args::{self, Takes};
use super::{Call, Run, Stop, unavailable};

pub(crate) fn run(call: &mut Call<'_>, argv: &[Vec<u8>]) -> Run<i32> {
    let given = args::parse(
        call,
        argv,
        &[("a|all", Takes::Nothing), ("is-ancestor", Takes::Nothing)],
    )?;
    let [first, second] = &given.rest[..] else {
        return unavailable("git merge-base of other than two commits");
    };
    let (Some(first), Some(second)) = (call.resolve_commit(first)?, call.resolve_commit(second)?) else {
        return unavailable("git merge-base of something else than commits");
    };
    if given.has("is-ancestor") {
        if given.has("all") {
            return unavailable("git merge-base --is-ancestor --all");
        }
        let is_ancestor = first == second || call.apart(&first, &second)?.common == [first];
        return if is_ancestor { Ok(0) } else { Err(Stop::Exit(1)) };
    }
    let common = if first == second {
        vec![first]
    } else {
        call.apart(&first, &second)?.common
    };
    match &common[..] {
        [] => Err(Stop::Exit(1)),
        [one] => {
            call.line(&[one.to_hex().as_bytes()]);
            Ok(0)
        }
        _ => unavailable("several best common ancestors"),
    }
}
