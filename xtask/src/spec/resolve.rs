//! From the text of a spec to its resolved value: defaults, references, contradictions.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;
use zeroize::{Zeroize, Zeroizing};

use super::checks::{self, Fault};
use super::keys::{default_count, default_flag, default_text};
use super::problem::{Problem, Refused, possible_tokens};
use super::reader::{Problems, Reference, TableReader};
use super::targets::{Target, share_a_machine};
use super::{
    Brand, Broker, Client, Features, Format, Package, Paths, Provisioning, Security, Signing, Spec,
    Surroundings, TokenIdentity, secrets, token,
};
use crate::signing::KeyPlace;

/// Binary of the stock build; only its paths are the product's own, a brand's derive from its binary.
const STOCK_BINARY: &str = "disco";

pub(super) fn resolve(path: &Path, source: &str, around: &Surroundings<'_>) -> Result<Spec, Refused> {
    let shown = path.display().to_string();
    let parsed = DeTable::parse(source).map_err(|why| {
        let span = why.span().unwrap_or(0..0);
        let problem = Problem::at(span, "the spec is not TOML", why.message());
        Refused::new(shown.clone(), source, vec![problem], &possible_tokens(source))
    })?;
    let problems = Problems::default();
    secrets::refuse(parsed.get_ref(), &problems);
    let spec = Resolution { path, around, problems: &problems }.spec(parsed.get_ref());
    let (found, secrets) = problems.into_parts();
    if found.is_empty() { Ok(spec) } else { Err(Refused::new(shown, source, found, &secrets)) }
}

pub(super) struct Resolution<'a> {
    path: &'a Path,
    around: &'a Surroundings<'a>,
    pub(super) problems: &'a Problems,
}

/// Which kinds of crates a spec brings.
#[derive(Debug, Clone, Copy)]
struct Plugs {
    resolver: bool,
    agents: bool,
}

impl<'a> Resolution<'a> {
    fn spec(&self, entries: &'a DeTable<'a>) -> Spec {
        let mut file = TableReader::root(entries, self.problems);
        let brand = self.brand(file.table("brand"));
        let paths = self.paths(file.table("paths"), &brand);
        let features = self.features(file.table("features"));
        let client = self.client(file.table("client"));
        let security = self.security(file.table("security"), &features);
        let broker = self.broker(file.table("broker"));
        let resolver = self.resolver(file.table("resolver"), features.provisioning);
        let agents = self.agents(file.tables("agents"), features.provisioning);
        self.refuse_other_origin(resolver.as_ref(), &agents);
        let mut warnings = Vec::new();
        let (provisioning, token) = self.provisioning(
            file.table("provisioning"),
            &brand,
            &features,
            Plugs { resolver: resolver.is_some(), agents: !agents.is_empty() },
            &mut warnings,
        );
        let targets = self.targets(file.table("targets"), &brand);
        let packages = self.packages(file.table("packages"), &targets);
        let signing = self.signing(file.table("signing"));
        file.finish();
        Spec {
            file_name: self
                .path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .replace(char::is_control, "?"),
            path: self.path.to_owned(),
            brand,
            paths,
            features,
            client,
            security,
            broker,
            provisioning,
            resolver,
            agents,
            targets,
            packages,
            signing,
            warnings,
            token_variable: token.variable,
            token_identity: token.identity,
        }
    }

    fn brand(&self, mut table: TableReader<'a>) -> Brand {
        let header = table.span();
        let name = table.string("name");
        if name.is_none() && table.key_span("name").is_none() {
            self.missing(
                "brand.name",
                header,
                "write `name = \"acme\"` under [brand]; the binary becomes `acme-disco`",
            );
        }
        let name = self.checked(name, "brand.name", checks::brand_name).unwrap_or_default();
        let binary = table.string("binary");
        let binary = self.checked(binary, "brand.binary", checks::binary_name);
        let text = |table: &mut TableReader<'a>, key: &'static str| {
            let (value, dotted) = (table.string(key), format!("brand.{key}"));
            let check = if key == "url" { checks::url } else { checks::shown };
            self.checked(value, &dotted, check).unwrap_or_else(|| default_text(&dotted))
        };
        let brand = Brand {
            binary: binary.unwrap_or_else(|| format!("{name}-disco")),
            name,
            display_name: text(&mut table, "display_name"),
            vendor: text(&mut table, "vendor"),
            contact: text(&mut table, "contact"),
            url: text(&mut table, "url"),
            license: text(&mut table, "license"),
            summary: text(&mut table, "summary"),
            version: {
                let version = table.string("version");
                self.checked(version, "brand.version", checks::version)
                    .unwrap_or_else(|| self.around.project_version.to_owned())
            },
            release: {
                let release = table.string("release");
                self.checked(release, "brand.release", checks::release)
                    .unwrap_or_else(|| default_text("brand.release"))
            },
        };
        table.finish();
        brand
    }

    fn paths(&self, mut table: TableReader<'a>, brand: &Brand) -> Paths {
        let binary = brand.binary.as_str();
        let vardir =
            if binary == STOCK_BINARY { "/var/disco".to_owned() } else { format!("/var/lib/{binary}") };
        let mut spans = BTreeMap::new();
        let mut path = |key: &'static str, default: String, check: &dyn Fn(&str) -> Option<Fault>| {
            let value = table.string(key);
            if let Some(value) = &value {
                spans.insert(key, value.span());
            }
            self.checked(value, &format!("paths.{key}"), check).unwrap_or(default)
        };
        let paths = Paths {
            bindir: path("bindir", default_text("paths.bindir"), &checks::folder),
            etcdir: path("etcdir", format!("/etc/{binary}"), &checks::own_folder),
            vardir: path("vardir", vardir, &|state| checks::state_folder(state, [&brand.name, binary])),
            logdir: path("logdir", default_text("paths.logdir"), &checks::folder),
        };
        table.finish();
        for (key, inside) in [("bindir", &paths.bindir), ("etcdir", &paths.etcdir), ("logdir", &paths.logdir)]
        {
            let Some(span) = spans.get("vardir").or_else(|| spans.get(key)) else { continue };
            if Path::new(inside).starts_with(&paths.vardir) {
                self.problems.add(
                    Problem::at(
                        span.clone(),
                        format!("`paths.{key}` lies in `paths.vardir`: {inside}"),
                        "purging the package removes the whole of `vardir`",
                    )
                    .cure("give the state a folder of its own"),
                );
            }
        }
        paths
    }

    fn features(&self, mut table: TableReader<'a>) -> Features {
        let live = flag(table.flag("live"), "features.live");
        let shell = flag(table.flag("shell"), "features.shell");
        let provisioning = flag(table.flag("provisioning"), "features.provisioning");
        let plaintext = table.flag("plaintext-brokers");
        if let Some(plaintext) = &plaintext
            && *plaintext.get_ref()
            && !provisioning
        {
            self.problems.add(
                Problem::at(
                    plaintext.span(),
                    "`features.plaintext-brokers` is on, but `features.provisioning` is off",
                    "such a build speaks to no broker at all",
                )
                .cure("set `provisioning = true` under [features], or leave `plaintext-brokers` out"),
            );
        }
        table.finish();
        Features {
            live,
            shell,
            provisioning,
            plaintext_brokers: flag(plaintext, "features.plaintext-brokers"),
        }
    }

    fn client(&self, mut table: TableReader<'a>) -> Client {
        let mut text = |key: &'static str, check: fn(&str) -> Option<Fault>| {
            let (value, dotted) = (table.string(key), format!("client.{key}"));
            self.checked(value, &dotted, check).unwrap_or_else(|| default_text(&dotted))
        };
        let client = Client {
            server: text("server", checks::universe),
            rsync: text("rsync", checks::command),
            interval: text("interval", checks::interval),
            splay: text("splay", checks::time_span),
        };
        table.finish();
        client
    }

    fn security(&self, mut table: TableReader<'a>, features: &Features) -> Security {
        let tls = table.flag("tls");
        self.refuse_plaintext(&tls, "security.tls", features);
        let security = Security {
            tls: flag(tls, "security.tls"),
            message_security: flag(table.flag("message_security"), "security.message_security"),
        };
        table.finish();
        security
    }

    fn broker(&self, mut table: TableReader<'a>) -> Broker {
        let max_clients = table
            .count("max_clients")
            .map_or_else(|| default_count("broker.max_clients"), Spanned::into_inner);
        table.finish();
        Broker { max_clients }
    }

    fn provisioning(
        &self,
        mut table: TableReader<'a>,
        brand: &Brand,
        features: &Features,
        plugs: Plugs,
        warnings: &mut Vec<String>,
    ) -> (Provisioning, Token) {
        let default = table.flag("default");
        let brokers = table.strings("brokers");
        let srv_domain = table.string("srv_domain").filter(|domain| !domain.get_ref().is_empty());
        let tls = table.flag("tls");
        let ca = table.string("ca");
        let secret = table.literal_or_reference("token");
        let registration_data = table.string("registration_data");
        let facts = table.string("facts");
        let status_file = table.string("status_file");
        let agent = table.flag("agent");
        let reprovision = table.flag("reprovision");
        let shutdown = table.flag("shutdown");

        let set = |key, is_set: bool| is_set.then(|| table.key_span(key)).flatten().map(|span| (key, span));
        if !features.provisioning {
            let filled =
                |text: &Option<Spanned<String>>| text.as_ref().is_some_and(|text| !text.get_ref().is_empty());
            let in_vain = [
                set("default", default.as_ref().is_some_and(|on| *on.get_ref())),
                set("brokers", brokers.as_ref().is_some_and(|list| !list.get_ref().is_empty())),
                set("srv_domain", srv_domain.is_some()),
                set("ca", filled(&ca)),
                set("token", secret.is_some()),
                set("registration_data", filled(&registration_data)),
                set("facts", filled(&facts)),
                set("status_file", filled(&status_file)),
                set("agent", agent.as_ref().is_some_and(|on| !*on.get_ref())),
                set("reprovision", reprovision.as_ref().is_some_and(|on| *on.get_ref())),
                set("shutdown", shutdown.as_ref().is_some_and(|on| *on.get_ref())),
            ];
            for (key, span) in in_vain.into_iter().flatten() {
                self.problems.add(
                    Problem::at(
                        span,
                        format!("`provisioning.{key}` is set, but `features.provisioning` is off"),
                        "this build would ignore it",
                    )
                    .cure(format!("set `provisioning = true` under [features], or leave `{key}` out")),
                );
            }
        }
        self.refuse_plaintext(&tls, "provisioning.tls", features);
        if let Some(on) = &agent
            && !*on.get_ref()
            && features.provisioning
            && !plugs.agents
        {
            self.problems.add(
                Problem::at(
                    on.span(),
                    "`provisioning.agent` is off, and no crate brings an agent in its place",
                    "nobody could provision this node",
                )
                .cure(
                    "name a crate in [[agents]] whose agent is called choria_provision, or leave `agent` on",
                ),
            );
        }
        let no_agent = agent.as_ref().is_some_and(|on| !*on.get_ref());
        for (key, action) in [("reprovision", &reprovision), ("shutdown", &shutdown)] {
            if let Some(on) = action
                && *on.get_ref()
                && no_agent
            {
                self.problems.add(
                    Problem::at(
                        on.span(),
                        format!("`provisioning.{key}` is on, but `provisioning.agent` is off"),
                        "an action of an agent that this build does not have",
                    )
                    .cure(format!(
                        "leave `{key}` out; the crate that brings the agent decides about its actions"
                    )),
                );
            }
        }
        let listed = brokers.as_ref().is_some_and(|list| !list.get_ref().is_empty());
        if let Some(domain) = &srv_domain
            && (listed || plugs.resolver)
        {
            let other = if listed { "`brokers` lists them" } else { "[resolver] finds them" };
            self.problems.add(
                Problem::at(
                    domain.span(),
                    format!("`provisioning.srv_domain` is set, but {other}"),
                    "this build would ignore it",
                )
                .cure("name the brokers in one way and leave the others out"),
            );
        }
        if let Some(on) = &default
            && *on.get_ref()
            && features.provisioning
            && !listed
            && srv_domain.is_none()
            && !plugs.resolver
            // A list that was written but not understood has its own message.
            && table.key_span("brokers").is_none_or(|_| brokers.is_some())
        {
            self.problems.add(
                Problem::at(
                    on.span(),
                    "`provisioning.default` is on, but there is nowhere to be provisioned",
                    "a fresh node would wait for ever",
                )
                .cure("list `brokers`, or name a domain in `srv_domain` or a crate that finds them in [resolver]"),
            );
        }
        table.finish();

        let checked_path = |value: Option<Spanned<String>>, key: &str, check: fn(&str) -> Option<Fault>| {
            let value = value.filter(|text| !text.get_ref().is_empty());
            self.checked(value, key, check).unwrap_or_default()
        };
        let token = match secret {
            Some(reference) if features.provisioning => self.token(reference, brand, warnings),
            _ => Token::default(),
        };
        let resolved = Provisioning {
            default: flag(default, "provisioning.default"),
            brokers: self.brokers(brokers),
            srv_domain: self
                .checked(srv_domain, "provisioning.srv_domain", checks::domain)
                .unwrap_or_default(),
            tls: flag(tls, "provisioning.tls"),
            ca: self.ca(ca),
            token: token.digest.clone(),
            registration_data: checked_path(
                registration_data,
                "provisioning.registration_data",
                checks::path,
            ),
            facts: checked_path(facts, "provisioning.facts", checks::path),
            status_file: checked_path(status_file, "provisioning.status_file", checks::status_file),
            agent: flag(agent, "provisioning.agent"),
            reprovision: flag(reprovision, "provisioning.reprovision"),
            shutdown: flag(shutdown, "provisioning.shutdown"),
        };
        (resolved, token)
    }

    fn refuse_plaintext(&self, tls: &Option<Spanned<bool>>, key: &str, features: &Features) {
        if let Some(tls) = tls
            && !*tls.get_ref()
            && !features.plaintext_brokers
        {
            self.problems.add(
                Problem::at(
                    tls.span(),
                    format!("`{key}` is off, but `features.plaintext-brokers` is off too"),
                    "this build cannot speak without TLS",
                )
                .cure("leave TLS on; only a demonstration needs `plaintext-brokers = true` under [features]"),
            );
        }
    }

    fn brokers(&self, listed: Option<Spanned<Vec<Spanned<String>>>>) -> Vec<String> {
        let mut brokers: Vec<String> = Vec::new();
        for broker in listed.map(Spanned::into_inner).unwrap_or_default() {
            let span = broker.span();
            if broker.get_ref().contains('@') {
                self.problems.hide(span.clone());
            }
            let Some(broker) = self.checked(Some(broker), "provisioning.brokers", checks::broker) else {
                continue;
            };
            if brokers.iter().any(|before| before.eq_ignore_ascii_case(&broker)) {
                self.problems.add(
                    Problem::at(span, format!("the broker `{broker}` is listed twice"), "listed before")
                        .cure("list each broker once"),
                );
                continue;
            }
            brokers.push(broker);
        }
        brokers
    }

    fn ca(&self, path: Option<Spanned<String>>) -> String {
        let Some(path) = path.filter(|path| !path.get_ref().is_empty()) else { return String::new() };
        let file = self.beside(path.get_ref());
        let refuse = |what: String, cure: &str| {
            self.problems.add(Problem::at(path.span(), what, "relative to the spec").cure(cure));
            String::new()
        };
        match fs::read_to_string(&file) {
            Err(why) => refuse(
                format!("`provisioning.ca` cannot be read: {}: {why}", file.display()),
                "name a PEM file with the certificate of the provisioning authority",
            ),
            Ok(pem) => match checks::certificates(&pem) {
                Some(Fault { what, cure }) => {
                    refuse(format!("`provisioning.ca` has {what}: {}", file.display()), &cure)
                }
                None => pem,
            },
        }
    }

    fn token(&self, reference: Spanned<Reference>, brand: &Brand, warnings: &mut Vec<String>) -> Token {
        let span = reference.span();
        let refuse = |what: String, cure: &str| {
            self.problems.add(Problem::at(span.clone(), what, "the token comes from here").cure(cure));
        };
        let (token, variable) = match reference.into_inner() {
            Reference::Literal(text) => (Zeroizing::new(text), None),
            Reference::Variable(name) => {
                match (self.around.environment)(&name).map(|value| value.into_string()) {
                    Some(Ok(text)) => (Zeroizing::new(text), Some(name)),
                    Some(Err(mut value)) => {
                        value.clear();
                        refuse(
                            format!("the environment variable `{name}` is not UTF-8"),
                            "set it to printable characters",
                        );
                        return Token::none(Some(name));
                    }
                    None => {
                        refuse(
                            format!("the environment variable `{name}` is not set"),
                            &format!(
                                "set it for this command, such as by `{name}=… cargo xtask build …` from a secret store"
                            ),
                        );
                        return Token::none(Some(name));
                    }
                }
            }
            Reference::File(path) => {
                let file = self.beside(&path);
                match fs::read_to_string(&file) {
                    Ok(mut text) => {
                        let token = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
                        text.zeroize();
                        (token, None)
                    }
                    Err(why) => {
                        refuse(
                            format!("the file of the token cannot be read: {}: {why}", file.display()),
                            "write the token into that file, or name another, relative to the spec",
                        );
                        return Token::none(None);
                    }
                }
            }
        };
        if let Some(what) = token::refusal(&token) {
            refuse(
                what.to_owned(),
                "use 1 to 128 printable characters, such as from `openssl rand -base64 24`",
            );
            return Token::none(variable);
        }
        let bits = token::estimated_bits(&token);
        if bits < token::WEAK_BELOW_BITS {
            warnings.push(format!(
                "the provisioning token of {} is WEAK: at most {bits} bits, {} are needed to resist guessing; \
                 make a better one, such as with `openssl rand -base64 24`",
                brand.name,
                token::WEAK_BELOW_BITS
            ));
        }
        match token::stretch(&brand.name, &token) {
            Ok(digest) => Token { digest, variable, identity: TokenIdentity::of(&token) },
            Err(why) => {
                refuse(format!("the token cannot be digested: {why}"), "this is a fault of xtask");
                Token::none(variable)
            }
        }
    }

    fn packages(&self, mut table: TableReader<'a>, targets: &[Target]) -> Vec<Package> {
        let defaults = self.package(table.table("defaults"));
        let default_target = self.packaged(defaults.target.as_ref(), targets);
        let mut packages: Vec<Package> = Vec::new();
        for (name, child) in table.other_tables() {
            let child = self.package(child);
            let Some(format) = child.format.clone().or_else(|| defaults.format.clone()) else {
                self.missing(
                    &format!("packages.{}.format", name.get_ref()),
                    Some(name.span()),
                    "write `format = \"rpm\"` or `format = \"deb\"`",
                );
                continue;
            };
            let format = format.into_inner();
            let dist = match (child.dist, format) {
                (Some(dist), Format::Deb) => {
                    self.problems.add(
                        Problem::at(
                            dist.span(),
                            "`dist` is part of an rpm's release; a deb has none",
                            "not for a deb",
                        )
                        .cure("leave it out, or set `brand.release`"),
                    );
                    String::new()
                }
                (Some(dist), Format::Rpm) => dist.into_inner(),
                (None, Format::Rpm) => {
                    defaults.dist.as_ref().map(|dist| dist.get_ref().clone()).unwrap_or_default()
                }
                (None, Format::Deb) => String::new(),
            };
            let target = self.packaged(child.target.as_ref(), targets).or_else(|| default_target.clone());
            self.refuse_ambiguous(name.get_ref(), Some(name.span()), target.as_deref(), targets);
            if let Some(twin) = packages.iter().find(|package| {
                package.format == format
                    && package.dist == dist
                    && share_a_machine(package.target.as_deref(), target.as_deref(), targets)
            }) {
                self.problems.add(
                    Problem::at(
                        name.span(),
                        format!("packages `{}` and `{}` would be the same file", twin.name, name.get_ref()),
                        "same format and same dist",
                    )
                    .cure("give one of them another `dist`, or leave it out"),
                );
            }
            packages.push(Package {
                name: name.into_inner(),
                format,
                dist,
                group: child.group.or_else(|| defaults.group.clone()).unwrap_or_else(group),
                manage_conf: child.manage_conf.or(defaults.manage_conf).unwrap_or_else(manage_conf),
                target,
                compat_commands: child
                    .compat_commands
                    .or(defaults.compat_commands)
                    .unwrap_or_else(compat_commands),
            });
        }
        if packages.is_empty() {
            self.refuse_ambiguous("rpm", None, default_target.as_deref(), targets);
            packages = [("rpm", Format::Rpm), ("deb", Format::Deb)]
                .into_iter()
                .filter(|(_, format)| defaults.format.as_ref().is_none_or(|only| only.get_ref() == format))
                .map(|(name, format)| Package {
                    name: name.to_owned(),
                    format,
                    dist: match (format, &defaults.dist) {
                        (Format::Rpm, Some(dist)) => dist.get_ref().clone(),
                        _ => String::new(),
                    },
                    group: defaults.group.clone().unwrap_or_else(group),
                    manage_conf: defaults.manage_conf.unwrap_or_else(manage_conf),
                    target: default_target.clone(),
                    compat_commands: defaults.compat_commands.unwrap_or_else(compat_commands),
                })
                .collect();
        }
        packages
    }

    fn signing(&self, mut table: TableReader<'a>) -> Signing {
        let mut place = |key| {
            let place = table.key_place(key)?;
            let span = place.span();
            match place.into_inner() {
                KeyPlace::File(path) => Some(KeyPlace::File(self.beside(&path.to_string_lossy()))),
                KeyPlace::Agent(fingerprint) => {
                    let dotted = format!("signing.{key}");
                    self.checked(Some(Spanned::new(span, fingerprint)), &dotted, checks::fingerprint)
                        .map(KeyPlace::Agent)
                }
            }
        };
        let (rpm_key, repository_key) = (place("rpm_key"), place("repository_key"));
        table.finish();
        Signing { repository_key: repository_key.or_else(|| rpm_key.clone()), rpm_key }
    }

    fn package(&self, mut table: TableReader<'a>) -> PackageTable {
        let format = table.string("format").map(|format| {
            let span = format.span();
            match format.get_ref().as_str() {
                "rpm" => Spanned::new(span, Format::Rpm),
                "deb" => Spanned::new(span, Format::Deb),
                other => {
                    self.problems.add(
                        Problem::at(
                            span.clone(),
                            format!("`{other}` is not a package format"),
                            "unknown format",
                        )
                        .cure("write `rpm` or `deb`"),
                    );
                    // One message is enough: a missing format would be the next.
                    Spanned::new(span, Format::Rpm)
                }
            }
        });
        let dist = table.string("dist").and_then(|dist| {
            let span = dist.span();
            self.checked(Some(dist), "dist", checks::release).map(|dist| Spanned::new(span, dist))
        });
        let read = PackageTable {
            format,
            dist,
            group: table.string("group").map(Spanned::into_inner),
            manage_conf: table.flag("manage_conf").map(Spanned::into_inner),
            target: table.string("target"),
            compat_commands: table.flag("compat_commands").map(Spanned::into_inner),
        };
        table.finish();
        read
    }

    pub(super) fn checked(
        &self,
        value: Option<Spanned<String>>,
        key: &str,
        check: impl Fn(&str) -> Option<Fault>,
    ) -> Option<String> {
        let value = value?;
        if let Some(Fault { what, cure }) = check(value.get_ref()) {
            self.problems.add(Problem::at(value.span(), format!("`{key}` is refused"), what).cure(cure));
            return None;
        }
        Some(value.into_inner())
    }

    pub(super) fn missing(&self, key: &str, header: Option<Range<usize>>, cure: &str) {
        let title = format!("`{key}` is missing");
        let problem = match header {
            Some(span) => Problem::at(span, title, "in this table"),
            None => Problem::of_file(title),
        };
        self.problems.add(problem.cure(cure));
    }

    /// A path that is relative to the spec.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// A flag, or its default.
fn flag(value: Option<Spanned<bool>>, dotted: &str) -> bool {
    value.map_or_else(|| default_flag(dotted), Spanned::into_inner)
}

fn group() -> String {
    default_text("packages.group")
}

fn manage_conf() -> bool {
    default_flag("packages.manage_conf")
}

fn compat_commands() -> bool {
    default_flag("packages.compat_commands")
}

/// What is left of a token once it was read.
#[derive(Default)]
struct Token {
    /// PHC string, empty for none.
    digest: String,
    /// The environment variable that held it.
    variable: Option<String>,
    identity: TokenIdentity,
}

impl Token {
    fn none(variable: Option<String>) -> Self {
        Token { variable, ..Token::default() }
    }
}

struct PackageTable {
    format: Option<Spanned<Format>>,
    dist: Option<Spanned<String>>,
    group: Option<String>,
    manage_conf: Option<bool>,
    target: Option<Spanned<String>>,
    compat_commands: Option<bool>,
}
