//! Each function that SQL declares is the Rust function it names: PostgreSQL itself compares nothing of the two.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use auth_ext_tests::shared;
use syn::{Attribute, FnArg, GenericArgument, Item, ItemFn, PathArguments, ReturnType, Type};

/// What both sides say of a function.
#[derive(Debug, PartialEq, Eq)]
struct Signature {
    arguments: Vec<String>,
    /// Is it never called with NULL?
    is_strict: bool,
    returns_set: bool,
    /// The name (where there are several columns) and type of each column of the result.
    result: Vec<(String, String)>,
}

#[test]
fn every_sql_declaration_has_the_signature_of_its_rust_function() {
    let rust = rust_functions();
    let declared = declarations();
    let differences: Vec<_> = declared
        .iter()
        .filter_map(|(name, symbol, declaration)| {
            let function = symbol
                .strip_suffix("_wrapper")
                .and_then(|function| rust.get(function));
            (function != Some(declaration))
                .then(|| format!("auth.{name}\n  SQL:  {declaration:?}\n  Rust: {function:?}\n"))
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.concat());
    let undeclared: Vec<_> = rust
        .keys()
        .filter(|function| {
            let wrapper = format!("{function}_wrapper");
            !declared.iter().any(|(_, symbol, _)| *symbol == wrapper)
        })
        .collect();
    assert!(undeclared.is_empty(), "no SQL declares {undeclared:?}");
    assert!(
        declared.len() > 50,
        "only {} declarations were compared",
        declared.len()
    );
}

// ---- What SQL says ---------------------------------------------------------------------------------

/// Name, symbol and signature of each C function of the extension.
fn declarations() -> Vec<(String, String, Signature)> {
    let cluster = shared();
    let mut admin = cluster.connect(&cluster.database("declarations"));
    let rows = admin
        .query(
            "SELECT p.proname::text, p.prosrc,
                    ARRAY(SELECT format_type(t, NULL)
                          FROM unnest(p.proargtypes) WITH ORDINALITY AS a(t, n) ORDER BY n),
                    p.proisstrict, p.proretset, format_type(p.prorettype, NULL),
                    ARRAY(SELECT o.name FROM unnest(p.proargnames, p.proargmodes) WITH ORDINALITY AS o(name, mode, n)
                          WHERE o.mode IN ('o', 't') ORDER BY n),
                    ARRAY(SELECT format_type(o.t, NULL)
                          FROM unnest(p.proallargtypes, p.proargmodes) WITH ORDINALITY AS o(t, mode, n)
                          WHERE o.mode IN ('o', 't') ORDER BY n)
             FROM pg_proc p
             JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'c'
             JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
             JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'auth_ext'",
            &[],
        )
        .unwrap();
    rows.iter()
        .map(|row| {
            let arguments: Vec<String> = row.get(2);
            let (names, types): (Vec<String>, Vec<String>) = (row.get(6), row.get(7));
            let returns_set: bool = row.get(4);
            // The row of a function that returns one is described by its declaration alone (pg/one_row.rs).
            let result = if types.len() > 1 && returns_set {
                names.into_iter().zip(types).collect()
            } else {
                vec![(String::new(), row.get(5))]
            };
            let signature = Signature {
                // Where there is no argument, there is no NULL; `internal` has one of its own.
                is_strict: row.get::<_, bool>(3)
                    && arguments.iter().any(|argument| argument != "internal"),
                arguments,
                returns_set,
                result,
            };
            (row.get(0), row.get(1), signature)
        })
        .collect()
}

// ---- What Rust says --------------------------------------------------------------------------------

/// The signatures of all functions that SQL can declare, by name.
fn rust_functions() -> BTreeMap<String, Signature> {
    let mut functions = BTreeMap::new();
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../src")) {
        let file = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
        for item in file.items {
            let Item::Fn(function) = item else { continue };
            let signature = if has_attribute(&function.attrs, "pg_trigger") {
                Signature {
                    arguments: Vec::new(),
                    is_strict: false,
                    returns_set: false,
                    result: vec![(String::new(), "trigger".to_owned())],
                }
            } else if has_attribute(&function.attrs, "pg_extern") {
                signature(&function)
            } else {
                continue;
            };
            let name = function.sig.ident.to_string();
            assert!(
                functions.insert(name.clone(), signature).is_none(),
                "{name} is there twice"
            );
        }
    }
    functions
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn has_attribute(attributes: &[Attribute], name: &str) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.path().is_ident(name))
}

fn signature(function: &ItemFn) -> Signature {
    let name = &function.sig.ident;
    let types = function.sig.inputs.iter().map(|argument| match argument {
        FnArg::Typed(argument) => &*argument.ty,
        FnArg::Receiver(_) => panic!("{name} has a self"),
    });
    // What an event trigger is told is no argument in SQL.
    if types.clone().any(|ty| sql_type(ty) == "event_trigger") {
        return Signature {
            arguments: Vec::new(),
            is_strict: false,
            returns_set: false,
            result: vec![(String::new(), "event_trigger".to_owned())],
        };
    }
    // `internal` has a NULL of its own.
    let (optional, plain): (Vec<&Type>, Vec<&Type>) = types
        .clone()
        .filter(|ty| sql_type(ty) != "internal")
        .partition(|ty| wrapped(ty, "Option").is_some());
    assert!(
        optional.is_empty() || plain.is_empty(),
        "{name} takes NULL for some of its arguments, and would panic at that of others"
    );
    let (returns_set, result) = match &function.sig.output {
        ReturnType::Default => (false, vec![(String::new(), "void".to_owned())]),
        ReturnType::Type(_, ty) => {
            match (wrapped(ty, "TableIterator"), wrapped(ty, "SetOfIterator")) {
                (Some(Type::Tuple(columns)), _) => {
                    (true, columns.elems.iter().map(column).collect())
                }
                (Some(_), _) => panic!("{name} returns no list of columns"),
                (None, Some(element)) => (true, vec![(String::new(), sql_type(element))]),
                (None, None) => (false, vec![(String::new(), sql_type(ty))]),
            }
        }
    };
    Signature {
        arguments: types.map(sql_type).collect(),
        is_strict: !plain.is_empty(),
        returns_set,
        result,
    }
}

/// `name!(column, T)`
fn column(ty: &Type) -> (String, String) {
    let Type::Macro(name) = ty else {
        panic!("a column without a name");
    };
    let parse = |input: syn::parse::ParseStream<'_>| {
        let name: syn::Ident = input.parse()?;
        input.parse::<syn::Token![,]>()?;
        Ok((name.to_string(), sql_type(&input.parse()?)))
    };
    syn::parse::Parser::parse2(parse, name.mac.tokens.clone()).unwrap()
}

/// The type inside of `wrapper<…>`.
fn wrapped<'t>(ty: &'t Type, wrapper: &str) -> Option<&'t Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    match &last.arguments {
        PathArguments::AngleBracketed(inner) if last.ident == wrapper => {
            inner.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            })
        }
        _ => None,
    }
}

fn sql_type(ty: &Type) -> String {
    if let Some(inner) = wrapped(ty, "Option") {
        return sql_type(inner);
    }
    if let Some(inner) = wrapped(ty, "Vec").filter(|inner| sql_type(inner) != "\"char\"") {
        return format!("{}[]", sql_type(inner));
    }
    let name = match ty {
        Type::Reference(reference) => return sql_type(&reference.elem),
        Type::Path(path) => path.path.segments.last().unwrap().ident.to_string(),
        _ => panic!("a type that the test does not know"),
    };
    match name.as_str() {
        "str" | "String" => "text",
        "CStr" => "name",
        "Names" => "name[]",
        "bool" => "boolean",
        "i32" => "integer",
        "i64" => "bigint",
        "f64" => "double precision",
        "Oid" => "regclass",
        "Jsonb" | "JsonText" => "jsonb",
        "Interval" => "interval",
        "TimestampWithTimeZone" => "timestamp with time zone",
        "Inet" => "inet",
        "Uuid" => "uuid",
        "Internal" => "internal",
        "Command" => "event_trigger",
        "OneRow" => "record",
        _ => panic!("a type that the test does not know: {name}"),
    }
    .to_owned()
}
