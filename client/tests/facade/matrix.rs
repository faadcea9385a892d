//! Which change is told to which kind of watch: every cell of the table is a test of its own.

use homing::{Acl, Client, EventType};

use crate::env::{Env, gone};
use crate::watchers::Any;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Create,
    Delete,
    SetData,
    SetAcl,
    ChildCreated,
    ChildDeleted,
    /// The node was ephemeral, and its session is closed.
    SessionEnds,
}

/// Who watches, and where: X is the node, P its parent, A the parent of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    DataOfX,
    ExistOfX,
    ChildOfX,
    PersistentOnX,
    RecursiveOnX,
    ChildOfP,
    PersistentOnP,
    RecursiveOnA,
}

/// Which node an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    P,
    X,
    /// The child of X.
    C,
}

const A: &str = "/a";
const P: &str = "/a/p";
const X: &str = "/a/p/x";
const C: &str = "/a/p/x/c";

/// Sets the watch, lets the change happen, and compares what is told.
pub(crate) async fn cell(env: &Env, change: Change, watch: Watch, told: &[(EventType, Node)]) {
    let (client, other) = (env.connect().await, env.connect().await);
    for path in [A, P] {
        other.create(path, b"").await.unwrap();
    }
    let owner = env.connect().await;
    match change {
        Change::Create => {}
        Change::SessionEnds => drop(owner.create(X, b"").ephemeral().await.unwrap()),
        _ => drop(other.create(X, b"").await.unwrap()),
    }
    if change == Change::ChildDeleted {
        other.create(C, b"").await.unwrap();
    }
    client.sync("/").await.unwrap();
    let Some(mut watcher) = set(&client, watch).await else {
        // There is no such node, so it cannot be watched like that, and is not.
        assert_eq!((change, client.stats().watches), (Change::Create, 0));
        return assert_eq!(told, []);
    };
    assert_eq!(client.stats().watches, 1);

    match change {
        Change::Create => drop(other.create(X, b"").await.unwrap()),
        Change::Delete => other.delete(X).await.unwrap(),
        Change::SetData => drop(other.set(X, b"1").await.unwrap()),
        Change::SetAcl => drop(other.set_acl(X, Acl::open()).await.unwrap()),
        Change::ChildCreated => drop(other.create(C, b"").await.unwrap()),
        Change::ChildDeleted => other.delete(C).await.unwrap(),
        Change::SessionEnds => {
            owner.close().await.unwrap();
            gone(&client, X).await;
        }
    }
    let expected: Vec<_> = told
        .iter()
        .map(|(kind, node)| (*kind, path(*node)))
        .collect();
    let seen = watcher.told(&client).await;
    let seen: Vec<_> = seen
        .iter()
        .map(|(kind, path)| (*kind, path.as_str()))
        .collect();
    assert_eq!(seen, expected);
    // Whoever has told once is done.
    let is_left = watcher.stays() || told.is_empty();
    assert_eq!(client.stats().watches, usize::from(is_left));
}

fn path(node: Node) -> &'static str {
    match node {
        Node::P => P,
        Node::X => X,
        Node::C => C,
    }
}

/// `None` if there is no node to watch like that.
async fn set(client: &Client, watch: Watch) -> Option<Any> {
    let set = match watch {
        Watch::DataOfX => Any::data(client, X).await,
        Watch::ExistOfX => Any::exist(client, X).await,
        Watch::ChildOfX => Any::child(client, X).await,
        Watch::PersistentOnX => Any::persistent(client, X).await,
        Watch::RecursiveOnX => Any::recursive(client, X).await,
        Watch::ChildOfP => Any::child(client, P).await,
        Watch::PersistentOnP => Any::persistent(client, P).await,
        Watch::RecursiveOnA => Any::recursive(client, A).await,
    };
    set.ok()
}

/// The cells. Each has a name, a change, a watch, and what is told.
macro_rules! cells {
    ($then:ident $($args:tt)*) => {
        $then! { $($args)*;
            create_to_data: Create DataOfX [];
            create_to_exist: Create ExistOfX [NodeCreated X];
            create_to_child: Create ChildOfX [];
            create_to_persistent: Create PersistentOnX [NodeCreated X];
            create_to_recursive: Create RecursiveOnX [NodeCreated X];
            create_to_child_of_the_parent: Create ChildOfP [NodeChildrenChanged P];
            create_to_persistent_on_the_parent: Create PersistentOnP [NodeChildrenChanged P];
            create_to_recursive_above: Create RecursiveOnA [NodeCreated X];

            delete_to_data: Delete DataOfX [NodeDeleted X];
            delete_to_exist: Delete ExistOfX [NodeDeleted X];
            delete_to_child: Delete ChildOfX [NodeDeleted X];
            delete_to_persistent: Delete PersistentOnX [NodeDeleted X];
            delete_to_recursive: Delete RecursiveOnX [NodeDeleted X];
            delete_to_child_of_the_parent: Delete ChildOfP [NodeChildrenChanged P];
            delete_to_persistent_on_the_parent: Delete PersistentOnP [NodeChildrenChanged P];
            delete_to_recursive_above: Delete RecursiveOnA [NodeDeleted X];

            set_data_to_data: SetData DataOfX [NodeDataChanged X];
            set_data_to_exist: SetData ExistOfX [NodeDataChanged X];
            set_data_to_child: SetData ChildOfX [];
            set_data_to_persistent: SetData PersistentOnX [NodeDataChanged X];
            set_data_to_recursive: SetData RecursiveOnX [NodeDataChanged X];
            set_data_to_child_of_the_parent: SetData ChildOfP [];
            set_data_to_persistent_on_the_parent: SetData PersistentOnP [];
            set_data_to_recursive_above: SetData RecursiveOnA [NodeDataChanged X];

            set_acl_to_data: SetAcl DataOfX [];
            set_acl_to_exist: SetAcl ExistOfX [];
            set_acl_to_child: SetAcl ChildOfX [];
            set_acl_to_persistent: SetAcl PersistentOnX [];
            set_acl_to_recursive: SetAcl RecursiveOnX [];
            set_acl_to_child_of_the_parent: SetAcl ChildOfP [];
            set_acl_to_persistent_on_the_parent: SetAcl PersistentOnP [];
            set_acl_to_recursive_above: SetAcl RecursiveOnA [];

            child_created_to_data: ChildCreated DataOfX [];
            child_created_to_exist: ChildCreated ExistOfX [];
            child_created_to_child: ChildCreated ChildOfX [NodeChildrenChanged X];
            child_created_to_persistent: ChildCreated PersistentOnX [NodeChildrenChanged X];
            child_created_to_recursive: ChildCreated RecursiveOnX [NodeCreated C];
            child_created_to_child_of_the_parent: ChildCreated ChildOfP [];
            child_created_to_persistent_on_the_parent: ChildCreated PersistentOnP [];
            child_created_to_recursive_above: ChildCreated RecursiveOnA [NodeCreated C];

            child_deleted_to_data: ChildDeleted DataOfX [];
            child_deleted_to_exist: ChildDeleted ExistOfX [];
            child_deleted_to_child: ChildDeleted ChildOfX [NodeChildrenChanged X];
            child_deleted_to_persistent: ChildDeleted PersistentOnX [NodeChildrenChanged X];
            child_deleted_to_recursive: ChildDeleted RecursiveOnX [NodeDeleted C];
            child_deleted_to_child_of_the_parent: ChildDeleted ChildOfP [];
            child_deleted_to_persistent_on_the_parent: ChildDeleted PersistentOnP [];
            child_deleted_to_recursive_above: ChildDeleted RecursiveOnA [NodeDeleted C];

            session_ends_to_data: SessionEnds DataOfX [NodeDeleted X];
            session_ends_to_exist: SessionEnds ExistOfX [NodeDeleted X];
            session_ends_to_child: SessionEnds ChildOfX [NodeDeleted X];
            session_ends_to_persistent: SessionEnds PersistentOnX [NodeDeleted X];
            session_ends_to_recursive: SessionEnds RecursiveOnX [NodeDeleted X];
            session_ends_to_child_of_the_parent: SessionEnds ChildOfP [NodeChildrenChanged P];
            session_ends_to_persistent_on_the_parent: SessionEnds PersistentOnP [NodeChildrenChanged P];
            session_ends_to_recursive_above: SessionEnds RecursiveOnA [NodeDeleted X];
        }
    };
}

/// One `#[test]` for each cell.
macro_rules! matrix {
    ($server:ident $backend:ident;
        $($name:ident: $change:ident $watch:ident [$($kind:ident $node:ident)?];)*) => {
        mod matrix {
            use crate::matrix::{Change, Node, Watch};
            $(
                #[test]
                fn $name() {
                    let server = crate::env::Kind::$server;
                    crate::env::run(server, crate::support::Backend::$backend, async |env| {
                        let told: &[(homing::EventType, Node)] =
                            &[$((homing::EventType::$kind, Node::$node))?];
                        crate::matrix::cell(env, Change::$change, Watch::$watch, told).await;
                    });
                }
            )*
        }
    };
}
