//! A policy that asks `auth.user_id()` for every row asks once a statement: the planner is told to take the call for the
//! sub-select `(select auth.user_id())`, which it evaluates once and can use as an index condition.

use core::ffi::{c_int, c_void};

use pgrx::prelude::*;

/// The planner's question to the identity functions (`SupportRequestSimplify`): is there something simpler?
#[pg_extern(sql = false)]
fn identity_support(request: pgrx::Internal) -> pgrx::Internal {
    // SAFETY: PostgreSQL calls a support function with the address of a request node, and calls this one only so: its
    // argument's type, internal, is nothing that SQL could pass.
    let simpler = request
        .unwrap()
        .and_then(|datum| unsafe { simplify(datum.cast_mut_ptr()) });
    // The answer is a node, or NULL for no answer.
    pgrx::Internal::from(Some(pg_sys::Datum::from(
        simpler.unwrap_or(core::ptr::null_mut()),
    )))
}

/// The sub-select in place of the call, where it is worth it and allowed.
///
/// # Safety
/// `request` is a request node of PostgreSQL's planner, or NULL.
unsafe fn simplify(request: *mut pg_sys::Node) -> Option<*mut pg_sys::Node> {
    // SAFETY: the nodes are the planner's own, in the memory context of planning, and of the types that their tags say;
    // those made here are zeroed first, and live in that context, too.
    unsafe {
        if request.is_null() || (*request).type_ != pg_sys::NodeTag::T_SupportRequestSimplify {
            return None;
        }
        let request = request.cast::<pg_sys::SupportRequestSimplify>();
        let root = (*request).root;
        let call = (*request).fcall;
        let query = root.as_ref()?.parse.as_mut()?;
        // Up to 16 the planner takes a grouping expression that is a sub-select for a constant.
        let is_grouped = !query.groupingSets.is_null();
        if is_grouped || !reads_tables(query) || !has_constant_arguments(call) {
            return None;
        }
        match stage(root) {
            Stage::Prepares => {
                query.hasSubLinks = true;
                Some(sub_select(call))
            }
            Stage::HasPolicies => Some(SS_process_sublinks(root, sub_select(call), false)),
            Stage::MayMistakeTheQuery | Stage::IsTooLate => None,
        }
    }
}

/// How far the planner is with a query when it simplifies an expression on the query's behalf.
enum Stage {
    /// It will look for sub-selects in this expression (`SS_process_sublinks`), when it has simplified it.
    Prepares,
    /// It has counted the query's row-security conditions (`subquery_planner`). From then on the query is not merged into another
    /// one any more, and a sub-select of the query can be planned at once.
    HasPolicies,
    /// The expression may be of an `EXISTS (…)` inside the query. Nobody would look for a sub-select in it.
    MayMistakeTheQuery,
    /// The query's tables are being planned (`query_planner`): an expression is simplified once more, for a partition or another
    /// child, for a CHECK constraint, or for an equality that follows from others. Nobody would look for a sub-select in it.
    IsTooLate,
}

/// The planner's calls of `eval_const_expressions` with a query are, in PostgreSQL 15 to 18:
///
/// | from | stage |
/// |---|---|
/// | `preprocess_function_rtes`, `convert_VALUES_to_ANY` | before the tables are counted; then comes `preprocess_expression` |
/// | `preprocess_expression` | as `Stage` says; then comes `SS_process_sublinks` |
/// | `simplify_EXISTS_query`, `convert_EXISTS_to_ANY` | either, with the query around the one of the expression |
/// | `expand_insert_targetlist` | a NULL, which holds no call |
/// | `apply_child_basequals`, `get_relation_constraints`, `process_implied_equality` | the array of tables exists |
///
/// # Safety
/// `root` is a query that is being planned.
unsafe fn stage(root: *mut pg_sys::PlannerInfo) -> Stage {
    // SAFETY: the lists and the query of `root` are nodes, or NULL.
    unsafe {
        if !(*root).simple_rel_array.is_null() {
            Stage::IsTooLate
        } else {
            let contents = Contents::of(root);
            if (*root).qual_security_level > 0 && !contents.moves {
                Stage::HasPolicies
            } else if contents.has_exists {
                Stage::MayMistakeTheQuery
            } else {
                Stage::Prepares
            }
        }
    }
}

/// A query without a table has one row: nothing to win. (The sub-select itself is one.)
unsafe fn reads_tables(query: &pg_sys::Query) -> bool {
    // SAFETY: a range table is a list of range table entries.
    unsafe {
        elements(query.rtable)
            .map(|entry| entry.cast::<pg_sys::RangeTblEntry>())
            .any(|entry| (*entry).rtekind != pg_sys::RTEKind::RTE_RESULT)
    }
}

unsafe fn has_constant_arguments(call: *mut pg_sys::FuncExpr) -> bool {
    // SAFETY: a call's arguments are a list of nodes.
    unsafe { elements((*call).args).all(|argument| (*argument).type_ == pg_sys::NodeTag::T_Const) }
}

unsafe extern "C-unwind" {
    #[cfg_attr(not(feature = "pg15"), link_name = "query_tree_walker_impl")]
    fn query_tree_walker(
        query: *mut pg_sys::Node,
        walker: Walker,
        context: *mut c_void,
        flags: c_int,
    ) -> bool;
    #[cfg_attr(not(feature = "pg15"), link_name = "expression_tree_walker_impl")]
    fn expression_tree_walker(
        node: *mut pg_sys::Node,
        walker: Walker,
        context: *mut c_void,
    ) -> bool;
    /// Plans the sub-selects in an expression of the query: what depends on no row becomes a parameter of the query's plan.
    fn SS_process_sublinks(
        root: *mut pg_sys::PlannerInfo,
        expression: *mut pg_sys::Node,
        is_condition: bool,
    ) -> *mut pg_sys::Node;
}

type Walker = unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut c_void) -> bool;

/// What there is in a query, at any depth, that a sub-select made here must heed.
#[derive(Default)]
struct Contents {
    /// An `EXISTS (…)`. The planner simplifies the condition of one on behalf of the query around it, which is then not the one
    /// that the sub-select would be in.
    has_exists: bool,
    /// An expression of a query further out (an aggregate over its rows, say), which will be evaluated there, by a plan that
    /// knows no sub-select of this query. The planner looks for sub-selects in it when it moves it (`build_subplan`).
    moves: bool,
    /// How many queries further in the search is.
    depth: u32,
}

impl Contents {
    unsafe fn of(root: *mut pg_sys::PlannerInfo) -> Self {
        let mut contents = Self::default();
        let context = core::ptr::from_mut(&mut contents).cast();
        // SAFETY: the query and the list of a query that is being planned; `look` is given the contents alone.
        unsafe {
            query_tree_walker((*root).parse.cast(), look, context, 0);
            look((*root).append_rel_list.cast(), context);
        }
        contents
    }
}

/// Notes what the node is, and goes on to those below it.
unsafe extern "C-unwind" fn look(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    // SAFETY: PostgreSQL's walkers call this with nodes of the query, or NULL, and with the contents that `of` made, which no one
    // else refers to meanwhile; no frame here owns anything.
    unsafe {
        if node.is_null() {
            return false;
        }
        let contents = context.cast::<Contents>();
        let level = match (*node).type_ {
            pg_sys::NodeTag::T_Query => {
                (*contents).depth += 1;
                query_tree_walker(node, look, context, 0);
                (*contents).depth -= 1;
                return false;
            }
            pg_sys::NodeTag::T_SubLink => {
                let kind = (*node.cast::<pg_sys::SubLink>()).subLinkType;
                (*contents).has_exists |= kind == pg_sys::SubLinkType::EXISTS_SUBLINK;
                0
            }
            pg_sys::NodeTag::T_Aggref => (*node.cast::<pg_sys::Aggref>()).agglevelsup,
            pg_sys::NodeTag::T_GroupingFunc => (*node.cast::<pg_sys::GroupingFunc>()).agglevelsup,
            pg_sys::NodeTag::T_PlaceHolderVar => {
                (*node.cast::<pg_sys::PlaceHolderVar>()).phlevelsup
            }
            _ => 0,
        };
        (*contents).moves |= level > (*contents).depth;
        expression_tree_walker(node, look, context)
    }
}

/// The elements of a list of nodes, which outlives the iterator.
unsafe fn elements(list: *mut pg_sys::List) -> impl Iterator<Item = *mut pg_sys::Node> {
    // SAFETY: NIL is NULL; a list has `length` elements.
    unsafe {
        let count = list.as_ref().map_or(0, |list| list.length);
        (0..usize::try_from(count).unwrap_or(0))
            .map(move |i| (*(*list).elements.add(i)).ptr_value.cast())
    }
}

/// `(select call)`, as the parser would have made it.
unsafe fn sub_select(call: *mut pg_sys::FuncExpr) -> *mut pg_sys::Node {
    // SAFETY: alloc_node gives zeroed nodes with their tags; the call is copied, since the planner keeps its own.
    unsafe {
        let mut target = PgBox::<pg_sys::TargetEntry>::alloc_node(pg_sys::NodeTag::T_TargetEntry);
        target.expr = pg_sys::copyObjectImpl(call.cast()).cast();
        target.resno = 1;

        let mut query = PgBox::<pg_sys::Query>::alloc_node(pg_sys::NodeTag::T_Query);
        query.commandType = pg_sys::CmdType::CMD_SELECT;
        query.canSetTag = true;
        query.jointree =
            PgBox::<pg_sys::FromExpr>::alloc_node(pg_sys::NodeTag::T_FromExpr).into_pg();
        query.targetList = pg_sys::lappend(core::ptr::null_mut(), target.into_pg().cast());

        let mut link = PgBox::<pg_sys::SubLink>::alloc_node(pg_sys::NodeTag::T_SubLink);
        link.subLinkType = pg_sys::SubLinkType::EXPR_SUBLINK;
        link.subselect = query.into_pg().cast();
        link.location = -1;
        link.into_pg().cast()
    }
}
