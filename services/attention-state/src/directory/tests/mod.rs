//! Errors by line, difference and dry run, all or nothing, versions, groups, and who may read what.

mod applying;
mod catalogue;
mod leaving_out;
mod passwords;
mod selection;
mod text;
mod trail;

use super::domain::problems::Problem;
use super::testing::example;

fn shown(problem: &Problem) -> String {
    format!("{} {} {}", problem.line, problem.path, problem.reason)
}

fn line_of(needle: &str) -> usize {
    1 + example().lines().position(|line| line.contains(needle)).unwrap()
}
