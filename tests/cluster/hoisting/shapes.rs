//! The tables, policies and statements: each once, with the call unwrapped.

/// How a table is made.
#[derive(Clone, Copy)]
pub enum Kind {
    Plain,
    Partitioned,
    Inherited,
}

pub const KINDS: [Kind; 3] = [Kind::Plain, Kind::Partitioned, Kind::Inherited];

/// A row-security policy.
pub struct Policy {
    name: &'static str,
    /// Empty: no row security.
    condition: &'static str,
    /// Must its call be evaluated once a statement?
    pub is_hoisted: bool,
}

const fn policy(name: &'static str, condition: &'static str, is_hoisted: bool) -> Policy {
    Policy {
        name,
        condition,
        is_hoisted,
    }
}

/// The name of a policy for each command.
const COMMANDS: &str = "commands";

pub const POLICIES: [Policy; 9] = [
    policy("none", "", false),
    policy("own", "owner = auth.user_id()", true),
    policy(
        "team",
        "owner = auth.user_id() OR EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id())",
        true,
    ),
    policy(
        "other",
        "owner = auth.user_id() OR EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id <> owner LIMIT 3)",
        true,
    ),
    policy(
        "listed",
        "team IN (SELECT m.team FROM members AS m WHERE m.user_id = auth.user_id()) OR coalesce(owner = auth.user_id(), false)",
        true,
    ),
    policy(
        "not_in",
        "NOT (team IN (SELECT m.team FROM members AS m WHERE m.user_id = auth.user_id())) OR NOT EXISTS (SELECT FROM members AS m
             WHERE m.user_id = auth.user_id() AND EXISTS (SELECT FROM members AS n WHERE n.team = m.team AND n.user_id <> auth.user_id() || t.owner))",
        false,
    ),
    policy(
        "function",
        "mine(owner) OR (SELECT count(*) FROM members AS m WHERE m.user_id = auth.user_id() AND m.team = t.team) > 1",
        true,
    ),
    policy(
        "cases",
        "CASE WHEN auth.user_id() IS NULL THEN id < 9 WHEN EXISTS (SELECT FROM members AS m WHERE m.user_id = auth.user_id()) THEN team < 3 ELSE owner = auth.user_id() END",
        true,
    ),
    policy(COMMANDS, "owner = auth.user_id() OR t.team < 3 AND EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id())", true),
];

/// The name of a table.
pub fn name(kind: Kind, policy: &Policy) -> String {
    let kind = match kind {
        Kind::Plain => "plain",
        Kind::Partitioned => "parts",
        Kind::Inherited => "parent",
    };
    format!("{kind}_{}", policy.name)
}

/// The statements that make and fill a table.
pub fn table(kind: Kind, policy: &Policy, ada: &str, bob: &str) -> String {
    let t = name(kind, policy);
    let columns = "id int NOT NULL, owner text, team int NOT NULL, body text";
    let mut sql = match kind {
        Kind::Plain => format!("CREATE TABLE {t} ({columns}, PRIMARY KEY (id, team));"),
        Kind::Partitioned => format!(
            "CREATE TABLE {t} ({columns}, PRIMARY KEY (id, team)) PARTITION BY LIST (team);
             CREATE TABLE {t}_1 PARTITION OF {t} FOR VALUES IN (0, 1);
             CREATE TABLE {t}_2 (body text, team int NOT NULL, gone int, owner text, id int NOT NULL);
             ALTER TABLE {t}_2 DROP COLUMN gone; ALTER TABLE {t} ATTACH PARTITION {t}_2 FOR VALUES IN (2, 3);
             CREATE TABLE {t}_3 PARTITION OF {t} DEFAULT PARTITION BY HASH (id);
             CREATE TABLE {t}_3_0 PARTITION OF {t}_3 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE {t}_3_1 PARTITION OF {t}_3 FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        ),
        Kind::Inherited => format!(
            "CREATE TABLE {t} ({columns}, PRIMARY KEY (id, team));
             CREATE TABLE {t}_1 (extra int) INHERITS ({t}); CREATE TABLE {t}_2 () INHERITS ({t});
             ALTER TABLE {t}_2 ADD CHECK (owner IS DISTINCT FROM coalesce(auth.user_id(), '') || '!');
             INSERT INTO {t}_1 (id, owner, team, body) SELECT 100 + n, CASE n % 3 WHEN 0 THEN '{ada}' WHEN 1 THEN '{bob}' END, n % 6, 'c' || n FROM generate_series(1, 12) AS n;
             INSERT INTO {t}_2 (id, owner, team, body) SELECT 200 + n, CASE n % 3 WHEN 0 THEN '{ada}' WHEN 1 THEN '{bob}' END, n % 6, 'd' || n FROM generate_series(1, 12) AS n;"
        )
        // The constraint is checked as nobody, whichever form it has: a CHECK cannot hold a sub-select.
        .replace("auth.user_id()", "auth.claim('sub')"),
    };
    sql.push_str(&format!(
        "INSERT INTO {t} SELECT n, CASE n % 3 WHEN 0 THEN '{ada}' WHEN 1 THEN '{bob}' END, n % 6, 'b' || n FROM generate_series(1, 30) AS n;"
    ));
    if !policy.condition.is_empty() {
        let condition = policy.condition.replace("t.", &format!("{t}."));
        sql.push_str(&format!("ALTER TABLE {t} ENABLE ROW LEVEL SECURITY;"));
        sql.push_str(&if policy.name == COMMANDS {
            format!(
                "CREATE POLICY s ON {t} FOR SELECT USING ({condition});
                 CREATE POLICY i ON {t} FOR INSERT WITH CHECK ({condition});
                 CREATE POLICY u ON {t} FOR UPDATE USING ({condition} AND id > 1) WITH CHECK (body <> 'y' AND ({condition}));
                 CREATE POLICY d ON {t} FOR DELETE USING ({condition} AND id > 2);"
            )
        } else {
            format!("CREATE POLICY p ON {t} USING ({condition});")
        });
    }
    sql
}

/// Views over some of the tables, and a function that the planner inlines.
pub const VIEWS: &str = "
    CREATE FUNCTION ids_of(who text) RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT d.id FROM plain_none AS d WHERE d.owner = who';
    CREATE VIEW both_members WITH (security_invoker = true) AS
        SELECT id, owner, team, body FROM plain_team UNION ALL SELECT id, owner, team, body FROM parts_team
        UNION ALL SELECT id, auth.user_id(), team, body FROM parent_own;
    CREATE VIEW barrier WITH (security_barrier) AS
        SELECT id, owner, team, body FROM parts_none AS t
        WHERE owner = auth.user_id() OR EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id());
    CREATE VIEW asked WITH (security_invoker = true) AS
        SELECT t.id, coalesce(t.owner, auth.user_id()) AS owner, t.team,
               CASE WHEN EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id()) THEN t.body END AS body
        FROM parts_team AS t LEFT JOIN plain_own AS o ON o.id = t.id AND o.owner = auth.user_id();";

/// Every source of rows.
pub fn sources() -> Vec<String> {
    let tables = KINDS
        .into_iter()
        .flat_map(|kind| POLICIES.iter().map(move |policy| name(kind, policy)));
    let views = ["both_members", "barrier", "asked"].map(str::to_owned);
    tables.chain(views).collect()
}

fn on_every_source(templates: &[&str]) -> Vec<String> {
    let with = |table: &String| {
        let table = table.clone();
        templates
            .iter()
            .map(move |template| template.replace("{t}", &table))
            .collect::<Vec<_>>()
    };
    sources().iter().flat_map(with).collect()
}

/// Queries. Their rows are compared without their order.
pub fn queries() -> Vec<String> {
    let mut all = on_every_source(QUERIES);
    // The same where the sub-selects read a table under a policy, too.
    let with_policy = |query: &String| {
        query
            .replace("members AS", "people AS")
            .replace("FROM members", "FROM people")
    };
    let some = all.iter().enumerate().filter(|(n, _)| n % 5 == 0);
    let more: Vec<String> = some.map(|(_, query)| with_policy(query)).collect();
    all.extend(more);
    all
}

const QUERIES: &[&str] = &[
    "SELECT * FROM {t}",
    "SELECT id FROM {t} WHERE owner = auth.user_id()",
    "SELECT id FROM {t} AS t WHERE owner = auth.user_id() OR EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id())",
    "SELECT id FROM {t} AS t WHERE EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id()) AND owner <> auth.user_id()",
    "SELECT id FROM {t} AS t WHERE NOT EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id() AND t.owner = auth.user_id())",
    "SELECT id FROM {t} WHERE team IN (SELECT m.team FROM members AS m WHERE m.user_id = auth.user_id()) OR id < 5",
    "SELECT id FROM {t} WHERE owner NOT IN (SELECT auth.user_id() FROM members) OR owner = ANY (ARRAY[auth.user_id(), 'x'])",
    "SELECT id FROM {t} WHERE owner IN (VALUES (auth.user_id()), ('x'))",
    "SELECT id FROM {t} WHERE (owner, team) IN (SELECT auth.user_id(), m.team FROM members AS m WHERE m.user_id <> auth.user_id() OR auth.user_id() IS NOT NULL)",
    "SELECT id, (SELECT max(m.team) FROM members AS m WHERE m.user_id = auth.user_id() AND m.team <= t.team) AS best, auth.user_id() || t.id FROM {t} AS t",
    "SELECT id, EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id()) AS e, owner = auth.user_id() AS o FROM {t} AS t",
    "SELECT id, EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id() LIMIT length(auth.user_id())) AS e FROM {t} AS t WHERE t.owner = auth.user_id() OR t.id < 4",
    "SELECT id FROM {t} AS t WHERE id < 3 OR EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND EXISTS (SELECT FROM members AS n WHERE n.team = m.team AND n.user_id = auth.user_id() AND t.owner = auth.user_id()))",
    "SELECT x.id, x.e FROM (SELECT id, owner, EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id()) AS e FROM {t} AS t
         UNION ALL SELECT id, owner, auth.user_id() = owner FROM {t}) AS x WHERE x.owner = auth.user_id() OR x.e",
    "SELECT x.who, x.n FROM (SELECT auth.user_id() AS who, id AS n FROM {t} UNION ALL SELECT owner, length(auth.user_id()) FROM {t}
         UNION ALL SELECT 'x' || auth.user_id(), id FROM plain_none) AS x WHERE x.who = auth.user_id() OR x.n < 3 OR x.who LIKE '%' || auth.user_id()",
    "SELECT owner FROM {t} WHERE owner = auth.user_id() UNION SELECT auth.user_id() || '!' FROM {t} EXCEPT SELECT auth.user_id() FROM members",
    "SELECT t.id, l.who FROM {t} AS t, LATERAL (SELECT auth.user_id() || t.id AS who FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id()) AS l",
    "SELECT t.id, l.w FROM {t} AS t LEFT JOIN LATERAL (SELECT coalesce(t.owner, auth.user_id()) || m.team AS w FROM members AS m WHERE m.team = t.team AND t.owner = auth.user_id() OFFSET 0) AS l ON true",
    "SELECT t.id, x.u, l.c FROM members AS m LEFT JOIN (SELECT id, team, auth.user_id() AS u, coalesce(owner, auth.user_id()) AS c FROM {t}) AS x ON x.team = m.team
         LEFT JOIN LATERAL (SELECT x.u || x.c AS c FROM members AS n WHERE n.user_id = x.u OFFSET 0) AS l ON l.c <> auth.user_id()
         LEFT JOIN {t} AS t ON t.id = x.id AND t.owner = auth.user_id()",
    "SELECT a.id, b.id FROM {t} AS a FULL JOIN {t} AS b ON a.id = b.id + 3 AND a.owner = b.owner WHERE coalesce(a.owner, b.owner) = auth.user_id()",
    "SELECT a.id, b.id FROM {t} AS a JOIN {t} AS b USING (id, team) WHERE a.owner = b.owner AND b.owner = auth.user_id() AND a.owner = auth.user_id()",
    "SELECT id, owner FROM {t} AS a NATURAL LEFT JOIN (SELECT id, auth.user_id() AS owner FROM {t}) AS b WHERE EXISTS (SELECT FROM members AS m WHERE m.user_id = owner OR m.user_id = auth.user_id())",
    "WITH d AS MATERIALIZED (SELECT id, owner, auth.user_id() AS who FROM {t}), e AS NOT MATERIALIZED (SELECT * FROM d WHERE owner = auth.user_id()) SELECT d.id, e.who FROM d JOIN e USING (id)",
    "WITH RECURSIVE r AS (SELECT id, owner FROM {t} WHERE owner = auth.user_id() AND id < 10 UNION ALL SELECT t.id, t.owner FROM {t} AS t JOIN r ON t.id = r.id + 6 WHERE t.owner = auth.user_id()) SELECT * FROM r",
    "SELECT owner, count(*) FROM {t} GROUP BY GROUPING SETS ((owner), ()) HAVING owner = auth.user_id() OR owner IS NULL",
    "SELECT owner = auth.user_id() AS own, team, count(*), max(auth.user_id()) FROM {t} GROUP BY ROLLUP (owner = auth.user_id(), team)",
    "SELECT auth.user_id() AS who, count(*), count(*) FILTER (WHERE owner = auth.user_id()) FROM {t} GROUP BY auth.user_id() HAVING max(auth.user_id()) = auth.user_id() OR auth.user_id() IS NULL",
    "SELECT team, sum(id) OVER (PARTITION BY owner = auth.user_id() ORDER BY id ROWS BETWEEN length(auth.user_id()) PRECEDING AND CURRENT ROW) FROM {t} WHERE auth.user_id() IS NOT NULL",
    "SELECT * FROM (SELECT id, row_number() OVER (ORDER BY id, auth.user_id()) AS n FROM {t}) AS x WHERE n <= length(auth.user_id())",
    "SELECT count(*) FROM (SELECT id FROM {t} ORDER BY owner = auth.user_id(), id LIMIT length(auth.user_id()) OFFSET length(auth.user_id()) - 1) AS x",
    "SELECT DISTINCT ON (owner = auth.user_id()) owner = auth.user_id() AS own, auth.user_id() AS who FROM {t} ORDER BY owner = auth.user_id(), id",
    "SELECT v.n, v.who, t.id FROM (VALUES (1, auth.user_id()), (2, 'z' || auth.user_id())) AS v (n, who) LEFT JOIN {t} AS t ON t.owner = v.who",
    "SELECT i, t.id FROM ids_of(auth.user_id()) AS i LEFT JOIN {t} AS t ON t.id = i AND t.owner = auth.user_id()",
    "SELECT u, g, t.id FROM {t} AS t, unnest(ARRAY[auth.user_id(), t.owner]) AS u, generate_series(1, length(auth.user_id())) AS g WHERE u = t.owner",
    "SELECT min(id), max(id) FROM {t} WHERE owner = auth.user_id()",
    "SELECT min(team), (SELECT max(t.owner || auth.user_id()) FROM members AS m WHERE m.user_id = auth.user_id() AND m.team = 0) FROM {t} AS t",
    "SELECT id FROM {t} AS t WHERE mine(owner) OR (SELECT bool_or(mine(m.user_id)) FROM members AS m WHERE m.team = t.team)",
    "SELECT id FROM {t} WHERE owner = auth.user_id() AND owner = '41' AND auth.user_id() = '41'",
    "SELECT CASE WHEN EXISTS (SELECT FROM members AS m WHERE m.user_id = auth.user_id() AND m.team = t.team) THEN auth.user_id() ELSE t.owner END, ARRAY(SELECT m.team FROM members AS m WHERE m.user_id = auth.user_id() AND m.team = t.team) FROM {t} AS t WHERE t.id % 2 = 0 OR t.owner = auth.user_id()",
    "SELECT x.id FROM (SELECT id, owner FROM {t} WHERE auth.user_id() IS NOT NULL OFFSET 0) AS x WHERE x.owner = auth.user_id() AND NOT EXISTS (SELECT FROM {t} AS y WHERE y.id = x.id + 3 AND y.owner <> auth.user_id())",
    "SELECT t.id FROM {t} AS t, {t} AS u WHERE t.id = u.id AND (t.owner = auth.user_id() OR u.team IN (SELECT m.team FROM members AS m WHERE m.user_id = auth.user_id() AND m.team = t.team))",
    // An aggregate of the query around the sub-select.
    "SELECT t.team, (SELECT max(t.owner || auth.user_id()) FROM people AS m WHERE m.user_id = auth.user_id() LIMIT 1) FROM {t} AS t GROUP BY t.team",
    "SELECT t.team, (SELECT count(*) FROM people AS m WHERE m.user_id <= max(t.owner || coalesce(auth.user_id(), 'x'))) FROM {t} AS t GROUP BY t.team",
    "SELECT t.team FROM {t} AS t GROUP BY t.team HAVING EXISTS (SELECT FROM people AS m WHERE m.user_id <= max(t.owner || coalesce(auth.user_id(), 'x')) AND m.team = t.team)",
    "SELECT t.team, (SELECT min(m.user_id) FROM people AS m WHERE m.team IN (SELECT n.team FROM people AS n WHERE n.user_id < max(t.owner || auth.user_id()) AND n.user_id = m.user_id)) FROM {t} AS t GROUP BY t.team",
    "SELECT t.team, auth.user_id(), (SELECT m.team + grouping(t.team) FROM people AS m WHERE m.user_id = auth.user_id() ORDER BY 1 LIMIT 1) FROM {t} AS t GROUP BY ROLLUP (t.team)",
    // What an outer join may make NULL, asked for from within.
    "SELECT m.team, l.c FROM members AS m LEFT JOIN (SELECT team, coalesce(owner, auth.user_id()) AS c, auth.user_id() AS u FROM {t}) AS x ON x.team = m.team,
         LATERAL (SELECT x.c || p.user_id || coalesce(x.u, auth.user_id()) AS c FROM people AS p WHERE p.user_id = x.u OR p.user_id = auth.user_id() OFFSET 0) AS l",
    "SELECT m.team, (SELECT x.c || max(p.user_id) FROM people AS p WHERE p.user_id <> x.u || auth.user_id()) FROM members AS m LEFT JOIN (SELECT team, coalesce(owner, auth.user_id()) AS c, auth.user_id() AS u FROM {t}) AS x ON x.team = m.team",
];

/// Statements that change rows.
pub fn changes() -> Vec<String> {
    let mut all = on_every_source(&[
        "UPDATE {t} SET body = auth.user_id() WHERE owner = auth.user_id() RETURNING id, body, auth.user_id()",
        "UPDATE {t} AS t SET body = 'x' WHERE t.id < 4 OR EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id()) RETURNING id, EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id())",
        "UPDATE {t} AS t SET body = (SELECT max(m.user_id) FROM members AS m WHERE m.team = t.team OR m.user_id = auth.user_id()) FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id() RETURNING t.id, body",
        "UPDATE {t} SET owner = auth.user_id() || '?' WHERE id = 1 RETURNING id, owner",
        "DELETE FROM {t} WHERE owner = auth.user_id() RETURNING id, owner = auth.user_id()",
        "DELETE FROM {t} AS t USING members AS m WHERE m.team = t.team AND (m.user_id = auth.user_id() OR NOT EXISTS (SELECT FROM members AS n WHERE n.user_id = auth.user_id() AND n.team = t.team)) RETURNING t.id",
        "INSERT INTO {t} (id, owner, team, body) SELECT 300 + n, auth.user_id(), n, 'new' FROM generate_series(1, 4) AS n RETURNING id, owner",
        "INSERT INTO {t} (id, owner, team, body) VALUES (301, auth.user_id(), 1, auth.user_id()), (302, auth.user_id(), 3, 'x') RETURNING id, owner, body",
        "INSERT INTO {t} (id, owner, team, body) SELECT id + 400, owner, team, auth.user_id() FROM {t} AS t WHERE owner = auth.user_id() OR EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id()) RETURNING id, body",
        "WITH d AS (DELETE FROM {t} WHERE owner = auth.user_id() RETURNING id, auth.user_id() AS who), u AS (SELECT id FROM {t} WHERE owner = auth.user_id()) SELECT d.id, who, u.id FROM d LEFT JOIN u USING (id)",
    ]);
    let tables = KINDS
        .into_iter()
        .flat_map(|kind| POLICIES.iter().map(move |policy| (kind, policy)));
    for (kind, policy) in tables {
        let table = name(kind, policy);
        let conflict = "INSERT INTO {t} AS t (id, owner, team, body) VALUES (3, auth.user_id(), 3, 'x'), (500, auth.user_id(), 2, 'y')
             ON CONFLICT (id, team) DO UPDATE SET body = auth.user_id() || excluded.body WHERE t.owner = auth.user_id() OR EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id()) RETURNING id, body";
        all.push(conflict.replace("{t}", &table));
        // MERGE into inheritance parents is refused; a policy's FOR UPDATE rules apply to what it changes.
        if !matches!(kind, Kind::Inherited) {
            for merge in [
                "MERGE INTO {t} AS t USING (SELECT auth.user_id() AS who, m.team FROM members AS m GROUP BY m.team) AS s ON t.owner = s.who AND t.team = s.team
                     WHEN MATCHED AND t.owner = auth.user_id() AND t.id < 15 THEN UPDATE SET body = 'merged by ' || auth.user_id()
                     WHEN MATCHED AND EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id()) THEN DELETE
                     WHEN NOT MATCHED THEN INSERT (id, owner, team, body) VALUES (600 + s.team, auth.user_id(), s.team, 'm')",
                "MERGE INTO {t} AS t USING {t} AS s ON t.id = s.id AND s.owner = auth.user_id() WHEN MATCHED THEN UPDATE SET body = auth.user_id() WHEN NOT MATCHED AND auth.user_id() IS NULL THEN DO NOTHING",
            ] {
                // The rows afterwards are read in the same statement batch: MERGE has no RETURNING before 17.
                let both = format!("{merge}; SELECT * FROM {{t}}");
                all.push(both.replace("{t}", &table));
            }
        }
    }
    all
}

/// Queries of one parameter, an integer.
pub fn prepared() -> Vec<String> {
    on_every_source(&[
        "SELECT id FROM {t} AS t WHERE id < $1 AND (owner = auth.user_id() OR EXISTS (SELECT FROM members AS m WHERE m.team = t.team AND m.user_id = auth.user_id()))",
        "SELECT id, auth.user_id() FROM {t} WHERE id < $1::int ORDER BY owner = auth.user_id() LIMIT $1",
    ])
}
