//! Queries that nobody would think of: expressions, sub-selects, joins and aggregates, one in another, at random.

use super::shapes;

const USER: &str = "auth.user_id()";

/// Grows queries. Each has the columns id, owner, team, body of its sources in reach.
pub struct Grower {
    random: fastrand::Rng,
    sources: Vec<String>,
    aliases: usize,
}

impl Grower {
    pub fn new(seed: u64) -> Self {
        let mut sources = shapes::sources();
        sources.push("people_with_ids".to_owned());
        Self {
            random: fastrand::Rng::with_seed(seed),
            sources,
            aliases: 0,
        }
    }

    pub fn query(&mut self) -> String {
        let depth = self.random.usize(2..4);
        match self.random.u8(0..4) {
            0 => self.grouped(depth),
            1 => {
                let (left, right) = (self.select(&[], depth - 1), self.select(&[], depth - 1));
                let both = ["UNION ALL", "UNION", "EXCEPT", "INTERSECT"];
                format!("{left} {} {right}", self.one(&both))
            }
            2 => {
                let inner = self.select(&[], depth - 1);
                let how = self
                    .one(&["", "MATERIALIZED", "NOT MATERIALIZED"])
                    .to_owned();
                let condition = self.condition(&["w".to_owned()], depth - 1);
                format!("WITH w AS {how} ({inner}) SELECT w.id, w.owner FROM w WHERE {condition}")
            }
            _ => self.select(&[], depth),
        }
    }

    fn one<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.random.usize(..all.len())]
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("a{}", self.aliases)
    }

    /// `SELECT id, owner, team, body`, which may refer to `outer`.
    fn select(&mut self, outer: &[String], depth: usize) -> String {
        let (from, inner) = self.from(outer, depth);
        let reach = [outer, &inner].concat();
        let (owner, number) = (self.text(&reach, depth), self.number(&reach, depth));
        let (condition, first) = (self.condition(&reach, depth), &inner[0]);
        format!(
            "SELECT {first}.id, {owner} AS owner, {number} AS team, {first}.body FROM {from} WHERE {condition}"
        )
    }

    fn grouped(&mut self, depth: usize) -> String {
        let (from, inner) = self.from(&[], depth);
        let first = inner[0].clone();
        let (text, condition) = (self.text(&inner, depth), self.condition(&inner, depth));
        let (filter, other) = (self.condition(&inner, 1), self.text(&inner, 1));
        // An aggregate of this query, asked for from within a sub-select.
        let (source, m) = (self.source(), self.alias());
        let (within, around) = (self.text(std::slice::from_ref(&m), 1), self.text(&inner, 1));
        let sub = format!("(SELECT count(*) FROM {source} AS {m} WHERE {within} <= max({around}))");
        let having = self.one(&[
            "true",
            "max(coalesce(auth.user_id(), 'x')) > '0'",
            "auth.user_id() IS NOT NULL",
        ]);
        let sets = self
            .one(&["{}", "{}", "ROLLUP ({})", "GROUPING SETS (({}), ())"])
            .replace("{}", &format!("{first}.team"));
        format!(
            "SELECT {first}.team, max({text}) AS m, bool_or({condition}) AS b, count(*) FILTER (WHERE {filter}) AS n, min({other}) AS o, {sub} AS s
             FROM {from} GROUP BY {sets} HAVING {having}"
        )
    }

    fn source(&mut self) -> String {
        let n = self.random.usize(..self.sources.len());
        self.sources[n].clone()
    }

    /// A FROM clause, and the names in it.
    fn from(&mut self, outer: &[String], depth: usize) -> (String, Vec<String>) {
        let first = self.alias();
        let table = format!("{} AS {first}", self.source());
        if depth == 0 {
            return (table, vec![first]);
        }
        let second = self.alias();
        match self.random.u8(0..7) {
            0 => {
                let inner = self.select(&[], depth - 1);
                (format!("({inner}) AS {first}"), vec![first])
            }
            1 => {
                let (left, right) = (self.select(&[], depth - 1), self.select(&[], depth - 1));
                (
                    format!("({left} UNION ALL {right}) AS {first}"),
                    vec![first],
                )
            }
            2 => {
                let join = self.one(&["JOIN", "LEFT JOIN", "FULL JOIN"]);
                let other = self.select(&[], depth - 1);
                (
                    format!("{table} {join} ({other}) AS {second} ON {second}.id = {first}.id"),
                    vec![first, second],
                )
            }
            3 => {
                let reach = [outer, std::slice::from_ref(&first)].concat();
                let inner = self.select(&reach, depth - 1);
                let fence = self.one(&["", " OFFSET 0"]);
                (
                    format!(
                        "{table} LEFT JOIN LATERAL ({inner}{fence}) AS {second} ON {second}.id = {first}.id"
                    ),
                    vec![first, second],
                )
            }
            4 => {
                let (source, condition) = (
                    self.source(),
                    self.condition(&[first.clone(), second.clone()], depth - 1),
                );
                (
                    format!(
                        "{table} JOIN {source} AS {second} ON {second}.id = {first}.id AND ({condition})"
                    ),
                    vec![first, second],
                )
            }
            _ => (table, vec![first]),
        }
    }

    fn condition(&mut self, reach: &[String], depth: usize) -> String {
        let of = self.random.usize(..reach.len());
        let alias = reach[of].clone();
        let kinds = if depth == 0 { 5 } else { 14 };
        match self.random.u8(0..kinds) {
            0 | 1 => format!("{alias}.owner = {USER}"),
            2 => format!("{USER} IS NOT NULL"),
            3 => format!("{alias}.id < {}", self.random.u8(1..60)),
            4 => format!("{alias}.owner <> {USER}"),
            5 => {
                let (a, b) = (
                    self.condition(reach, depth - 1),
                    self.condition(reach, depth - 1),
                );
                format!("({a} AND {b})")
            }
            6 | 7 => {
                let (a, b) = (
                    self.condition(reach, depth - 1),
                    self.condition(reach, depth - 1),
                );
                format!("({a} OR {b})")
            }
            8 => format!("NOT ({})", self.condition(reach, depth - 1)),
            9 | 10 => {
                let not = self.one(&["", "NOT "]);
                let link = self.alias();
                let select = self.select(reach, depth - 1);
                format!(
                    "{not}EXISTS (SELECT FROM ({select}) AS {link} WHERE {link}.team = {alias}.team)"
                )
            }
            11 => {
                let m = self.alias();
                let source = self.source();
                let inner = [reach, std::slice::from_ref(&m)].concat();
                let condition = self.condition(&inner, depth - 1);
                format!(
                    "EXISTS (SELECT FROM {source} AS {m} WHERE {m}.team = {alias}.team AND {condition})"
                )
            }
            12 => {
                let select = self.select(reach, depth - 1);
                let link = self.alias();
                let text = self.text(reach, depth - 1);
                format!("{text} IN (SELECT {link}.owner FROM ({select}) AS {link})")
            }
            _ => {
                let (a, b) = (self.text(reach, depth - 1), self.text(reach, depth - 1));
                format!("{a} >= {b}")
            }
        }
    }

    fn text(&mut self, reach: &[String], depth: usize) -> String {
        let of = self.random.usize(..reach.len());
        let alias = reach[of].clone();
        let kinds = if depth == 0 { 3 } else { 8 };
        match self.random.u8(0..kinds) {
            0 => USER.to_owned(),
            1 => format!("{alias}.owner"),
            2 => format!("({alias}.body || {USER})"),
            3 => format!("coalesce({alias}.owner, {})", self.text(reach, depth - 1)),
            4 => {
                let condition = self.condition(reach, depth - 1);
                format!("CASE WHEN {condition} THEN {USER} ELSE {alias}.owner END")
            }
            5 | 6 => {
                let m = self.alias();
                let source = self.source();
                let inner = [reach, std::slice::from_ref(&m)].concat();
                let (text, condition) = (
                    self.text(&inner, depth - 1),
                    self.condition(&inner, depth - 1),
                );
                // Of the sub-select's own rows, or else of none: then it is the query's around.
                format!(
                    "(SELECT max(coalesce({m}.body, '') || {text}) FROM {source} AS {m} WHERE {condition})"
                )
            }
            _ => format!("({} || {alias}.id)", self.text(reach, depth - 1)),
        }
    }

    fn number(&mut self, reach: &[String], depth: usize) -> String {
        let of = self.random.usize(..reach.len());
        let alias = reach[of].clone();
        match self.random.u8(0..if depth == 0 { 3 } else { 4 }) {
            0 | 1 => format!("{alias}.team"),
            2 => format!("length({USER})"),
            _ => {
                let m = self.alias();
                let source = self.source();
                let inner = [reach, std::slice::from_ref(&m)].concat();
                let condition = self.condition(&inner, depth - 1);
                format!(
                    "(SELECT count(*)::int FROM {source} AS {m} WHERE {m}.team = {alias}.team AND {condition})"
                )
            }
        }
    }
}
