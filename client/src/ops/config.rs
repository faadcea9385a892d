//! Reading and changing who the servers of the ensemble are.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use homing_protocol::{
    CONFIG_PATH, DecodeError, EnsembleConfigError, ErrorCode, GetData, Member, Stat, op, reply,
};
use homing_session::WatchKind;

use crate::client::{Client, Scope};
use crate::error::Error;
use crate::request::{Operation, Request, sealed};
use crate::watcher::{Read, Watchable};

impl Client {
    /// Reads the ensemble's configuration: its members and the version. No chroot counts here:
    /// the node is `/zookeeper/config` for every handle, in errors and in events too.
    ///
    /// With [`.watch()`](Request::watch) the next change of it is told.
    ///
    /// A server that stands alone has no members, and no version. It takes servers since 3.5.0.
    ///
    /// # Errors
    /// `NoNode` from an older server, `NoAuth` if the node was closed to this client.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let text = "server.1=zk1:2888:3888:participant;0.0.0.0:2181\nversion=100000000";
    /// # let server = homing_testkit::FakeServer::builder().config(|config| config.ensemble = text.into());
    /// # let server = server.start().unwrap();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// let (config, changed) = client.config().watch().await?;
    /// for member in &config.members {
    ///     println!("{}: {}", member.id, member.addresses[0].host);
    /// }
    /// assert_eq!(config.version, Some(0x1_0000_0000));
    /// # drop(changed);
    /// # Ok(())
    /// # }
    /// ```
    pub fn config(&self) -> Request<GetConfig> {
        Request::new(&self.scope.without_chroot(), GetConfig { watch: false })
    }

    /// Changes who the servers of the ensemble are, and gives the new configuration. Either some
    /// join and leave, or all members are given.
    ///
    /// Servers allow it only with `reconfigEnabled=true`, and only to who may write
    /// `/zookeeper/config`: by default that is the super user alone.
    ///
    /// # Errors
    /// `ReconfigDisabled` if it is switched off, `NoAuth` without the permission, `BadVersion` if
    /// the configuration is not at the version that was asked for, `ReconfigInProgress` while
    /// another one is under way, `NewConfigNoQuorum` if too few of the new members are connected
    /// and up to date, `BadArguments` if a server's text is not one or nobody would be left,
    /// `Unimplemented` from a server that stands alone. That a server leads that is to leave is
    /// no error.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), homing::Error> {
    /// # let server = homing_testkit::FakeServer::start();
    /// # let client = homing::Client::connect(&server.connect_string()).await?;
    /// let config = client.config().await?;
    /// let mut change = client
    ///     .reconfig()
    ///     .join("server.4=zk4:2888:3888:participant;2181")
    ///     .leave(1);
    /// if let Some(version) = config.version {
    ///     change = change.from_config(version); // and no other
    /// }
    /// let error = change.await.unwrap_err();
    /// assert_eq!(error.code(), Some(homing::ErrorCode::ReconfigDisabled));
    /// # Ok(())
    /// # }
    /// ```
    pub fn reconfig<'a>(&self) -> Request<Reconfig<'a>> {
        Request::new(&self.scope.without_chroot(), Reconfig::default())
    }
}

/// The operation of [`Client::config`].
///
/// ```
/// use homing::{Client, Request, ops::{GetConfig, Watched}};
/// fn follow(client: &Client) -> Request<Watched<GetConfig>> {
///     client.config().watch()
/// }
/// ```
#[derive(Debug, Clone)]
pub struct GetConfig {
    watch: bool,
}

impl sealed::Sealed for GetConfig {}

impl Read for GetConfig {}

impl Watchable for GetConfig {
    const KIND: WatchKind = WatchKind::Data;

    fn set_watch(&mut self, watch: bool) {
        self.watch = watch;
    }
}

impl Operation for GetConfig {
    type Output = EnsembleConfig;
    const NAME: &'static str = "config";
    type Body<'b> = GetData<'b>;

    fn code(&self) -> i32 {
        op::GET_DATA
    }

    fn path(&self) -> &str {
        CONFIG_PATH
    }

    fn body<'b>(&'b self, scope: &'b Scope) -> GetData<'b> {
        GetData {
            path: scope.server_path(CONFIG_PATH),
            watch: self.watch,
        }
    }

    fn decode(&mut self, _: &Scope, frame: &Bytes) -> Result<EnsembleConfig, DecodeError> {
        EnsembleConfig::decode(frame)
    }
}

/// The operation of [`Client::reconfig`].
///
/// ```
/// use homing::{Client, Request, ops::Reconfig};
/// fn remove<'a>(client: &Client, id: i64) -> Request<Reconfig<'a>> {
///     client.reconfig().leave(id)
/// }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Reconfig<'a> {
    joining: Option<String>,
    leaving: Option<String>,
    members: Option<Cow<'a, str>>,
    from_config: Option<i64>,
}

impl<'a> Request<Reconfig<'a>> {
    /// A server joins, or one with this number changes:
    /// `server.N=host:port:port[:role];[host:]port`, as in the configuration file of a server.
    pub fn join(mut self, server: impl fmt::Display) -> Self {
        append(&mut self.op.joining, server);
        self
    }

    /// The server with this number leaves.
    pub fn leave(mut self, id: i64) -> Self {
        append(&mut self.op.leaving, id);
        self
    }

    /// All members, in place of those that are there: servers as for [`join`](Self::join), with
    /// line ends or commas between them. It excludes `join` and `leave`.
    pub fn members(mut self, members: impl Into<Cow<'a, str>>) -> Self {
        self.op.members = Some(members.into());
        self
    }

    /// Only if the configuration is at this version ([`EnsembleConfig::version`]); by default at
    /// any.
    pub fn from_config(mut self, version: i64) -> Self {
        self.op.from_config = Some(version);
        self
    }
}

fn append(list: &mut Option<String>, item: impl fmt::Display) {
    let comma = if list.is_some() { "," } else { "" };
    let list = list.get_or_insert_default();
    *list += &format!("{comma}{item}");
}

impl sealed::Sealed for Reconfig<'_> {}

impl Operation for Reconfig<'_> {
    type Output = EnsembleConfig;
    const NAME: &'static str = "reconfig";
    type Body<'b>
        = homing_protocol::Reconfig<'b>
    where
        Self: 'b;

    fn code(&self) -> i32 {
        op::RECONFIG
    }

    fn path(&self) -> &str {
        CONFIG_PATH
    }

    fn check_path(&self) -> Result<(), Error> {
        Ok(())
    }

    fn check_settings(&self) -> Result<(), String> {
        let by_one = self.joining.is_some() || self.leaving.is_some();
        match (by_one, self.members.is_some()) {
            (false, false) => {
                Err("nobody is to `join` or `leave`, and no `members` are given".into())
            }
            (true, true) => Err("`members` excludes `join` and `leave`".into()),
            _ => Ok(()),
        }
    }

    fn body<'b>(&'b self, _: &'b Scope) -> homing_protocol::Reconfig<'b> {
        homing_protocol::Reconfig {
            joining: self.joining.as_deref(),
            leaving: self.leaving.as_deref(),
            members: self.members.as_deref(),
            from_config: self.from_config.unwrap_or(-1),
        }
    }

    fn decode(&mut self, _: &Scope, frame: &Bytes) -> Result<EnsembleConfig, DecodeError> {
        EnsembleConfig::decode(frame)
    }

    fn hint(&self, code: ErrorCode) -> Option<&'static str> {
        match code {
            ErrorCode::Unimplemented => {
                Some("the server stands alone and has no ensemble, or is older than 3.5.0")
            }
            _ => None,
        }
    }
}

/// Who the servers of an ensemble are.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let text = "server.1=zk1:2888:3888:participant;0.0.0.0:2181\nversion=1a";
/// # let server = homing_testkit::FakeServer::builder().config(|config| config.ensemble = text.into());
/// # let server = server.start().unwrap();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// let config = client.config().await?;
/// let member = &config.members[0];
/// assert_eq!((member.id, member.role, config.version), (1, homing::Role::Participant, Some(0x1a)));
/// assert_eq!(member.client_address().unwrap().to_string(), "zk1:2181");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnsembleConfig {
    /// Its servers; none where one stands alone.
    pub members: Vec<Member>,
    /// Which configuration it is: what [`from_config`](Request::<Reconfig>::from_config) takes.
    /// `None` from a server that stands alone.
    pub version: Option<i64>,
    /// Why the text could not be read, and at which line: then there are no members and no version
    /// here.
    pub problem: Option<EnsembleConfigError>,
    /// The text, as the server has it, with lines that are about something else, such as groups
    /// and weights.
    pub raw: Bytes,
    /// The stat of its node.
    pub stat: Stat,
}

impl EnsembleConfig {
    fn decode(frame: &Bytes) -> Result<Self, DecodeError> {
        let (data, stat) = reply::get_data(frame)?;
        let raw = Bytes::copy_from_slice(&data.unwrap_or_default());
        let text = String::from_utf8_lossy(&raw);
        let parsed = homing_protocol::EnsembleConfig::parse(&text);
        let (members, version, problem) = match parsed {
            Ok(parsed) => (parsed.members, parsed.version, None),
            Err(problem) => (Vec::new(), 0, Some(problem)),
        };
        Ok(Self {
            members,
            version: (version != 0).then_some(version),
            problem,
            raw,
            stat,
        })
    }
}
