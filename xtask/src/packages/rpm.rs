//! One rpm: version 4 format, xz payload, which every rpm from Enterprise Linux 7 on reads.

use anyhow::{Context, Result};
use rpm::{BuildConfig, CompressionWithLevel, Dependency, FileMode, FileOptions, PackageBuilder};

use super::payload::Kind;
use super::{Inputs, Made, RUNS};
use crate::signing::Signer;
use crate::spec::Package;

pub(super) fn make(inputs: &Inputs<'_>, package: &Package) -> Result<Made> {
    let brand = &inputs.spec.brand;
    let machine = inputs.linkage.machine.rpm();
    let release = if package.dist.is_empty() {
        brand.release.clone()
    } else {
        format!("{}.{}", brand.release, package.dist)
    };
    let config =
        BuildConfig::v4().compression(CompressionWithLevel::Xz(inputs.xz_level)).source_date(inputs.epoch);
    let mut rpm = PackageBuilder::new(&brand.binary, &brand.version, &brand.license, machine, &brand.summary);
    rpm.using_config(config)
        .release(&release)
        .url(&brand.url)
        .vendor(&brand.vendor)
        .packager(&brand.contact)
        .group(&package.group)
        .description(format!("{}\n\n{}, from {}.", brand.summary, brand.display_name, brand.vendor))
        // The real one would tell about the build machine, and make every machine's package differ.
        .build_host("localhost");
    for program in RUNS {
        rpm.requires(Dependency::any(program));
    }
    for library in libraries(inputs) {
        rpm.requires(Dependency::any(library));
    }
    rpm.add_changelog_entry(
        format!("{} - {}-{release}", brand.contact, brand.version),
        format!("- {} {}. What changed is told at {}.", brand.display_name, brand.version, brand.url),
        inputs.epoch,
    );
    rpm.post_install_script(inputs.text("rpm/post.sh")?);
    rpm.pre_uninstall_script(inputs.text("rpm/preun.sh")?);
    rpm.post_uninstall_script(inputs.text("rpm/postun.sh")?);
    for (path, entry) in &inputs.payload.entries {
        let permissions = u16::try_from(entry.mode).context("a mode has 12 bits")?;
        let options = match entry.kind {
            Kind::StandardDir => continue,
            Kind::Dir => {
                rpm.with_dir_entry(
                    FileOptions::dir(path).mode(FileMode::dir(permissions)).user("root").group("root"),
                )
                .with_context(|| format!("cannot add {path}"))?;
                continue;
            }
            Kind::Link => {
                let target = String::from_utf8_lossy(&entry.content);
                rpm.with_symlink(FileOptions::symlink(path, target).user("root").group("root"))
                    .with_context(|| format!("cannot add {path}"))?;
                continue;
            }
            Kind::File => FileOptions::new(path),
            Kind::Config => FileOptions::new(path).config().noreplace(),
            // It lies among the documentation.
            Kind::License => FileOptions::new(path).license().doc(),
            Kind::Doc => FileOptions::new(path).doc(),
        };
        let options = options.mode(FileMode::regular(permissions)).user("root").group("root");
        rpm.with_file_contents(entry.content.clone(), options)
            .with_context(|| format!("cannot add {path}"))?;
    }
    let built = rpm.build().context("cannot build the rpm")?;
    let mut content = Vec::new();
    built.write(&mut content).context("cannot serialise the rpm")?;
    if let Some(place) = &inputs.spec.signing.rpm_key {
        let signed = Signer::of(place).and_then(|signer| signer.rpm(&content, inputs.epoch.into()));
        content = signed.with_context(|| format!("cannot sign the rpm with {place}"))?;
    }
    Ok(Made { file_name: format!("{}-{}-{release}.{machine}.rpm", brand.binary, brand.version), content })
}

/// The libraries in rpm's own words: `libc.so.6(GLIBC_2.34)(64bit)`.
fn libraries(inputs: &Inputs<'_>) -> Vec<String> {
    let linkage = &inputs.linkage;
    let mut words: Vec<String> =
        linkage.libraries.iter().map(|library| format!("{library}()(64bit)")).collect();
    words.extend(linkage.versions.iter().map(|(library, version)| format!("{library}({version})(64bit)")));
    words
}
