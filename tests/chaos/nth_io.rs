//! The n-th read or write fails, for every n that there is (after SQLite's I/O error tests): the right answer where it is
//! tried again, else an error that names it; nothing is left half written, and the context goes on.

use std::{fs, path::Path};

use emberflow::{
    Context, Error,
    testing::{Fault, Kind, Point, Schedule},
};

use super::{
    ends_well,
    support::{World, names_in, within_deadline},
    times,
};

/// Reads files, spills whatever is kept, sorted or joined, and writes three outputs, of which one is a checkpoint.
fn program(ctx: &Context, from: &Path, to: &Path) -> Result<Vec<String>, Error> {
    let lines = ctx.text_file(from)?.cache();
    let keyed = lines.map(|line| (line.len(), line.to_string()));
    let groups = keyed.group_by_key_into(3).map(|(len, lines)| (len, lines.len()));
    let joined = keyed.join(&groups).map(|(len, (line, lines))| format!("{len} {line} {lines}"));
    let sorted = joined.sort_by_into(|line| line.clone(), 2);
    sorted.save_as_text_file(to.join("text"))?;
    ctx.set_checkpoint_dir(to.join("checkpoints"))?;
    let kept = sorted.checkpoint()?;
    kept.save_as_object_file(to.join("objects"))?;
    let mut read = ctx.text_file(to.join("text"))?.collect()?;
    read.extend(ctx.object_file::<String>(to.join("objects"))?.collect()?);
    Ok(read)
}

/// What can be seen of the outputs: of each directory, whether it is complete.
fn outputs(to: &Path) -> Vec<(String, bool)> {
    let seen = names_in(to).into_iter().filter(|name| name != "checkpoints");
    seen.map(|name| (name.clone(), to.join(name).join("_SUCCESS").exists())).collect()
}

fn inputs(world: &World) -> std::path::PathBuf {
    let from = world.files().join("from");
    fs::create_dir(&from).unwrap();
    for at in 0..3_u64 {
        let lines = (0..200).map(|n| format!("{}\n", (n * 7919 + at * 104_729) % 100_003)).collect::<String>();
        fs::write(from.join(format!("{at}.txt")), lines).unwrap();
    }
    fs::create_dir(world.files().join("to")).unwrap();
    from
}

fn striking(point: Point, nth: u64, failures: usize) -> World {
    World::with(|builder| {
        let builder = builder.workers(2).force_spill(true).task_failure_limit(failures);
        builder.default_partitions(3).chaos(Schedule::of([Fault::new(point, Kind::Io).nth(nth)]))
    })
}

#[test]
fn whichever_read_or_write_fails_the_answer_is_right_or_an_error_and_no_output_is_half_there() {
    let plain = World::tight(2);
    let (from, to) = (inputs(&plain), plain.files().join("to"));
    let expected = program(&plain, &from, &to).unwrap();
    assert_eq!(expected.len(), 1_200);
    for point in [Point::Source, Point::SpillWrite, Point::SpillRead, Point::SpillMap, Point::Sink] {
        let (mut struck, mut failed) = (0, 0);
        for nth in 1_u64.. {
            let before = struck;
            for failures in [1, 4] {
                let world = striking(point, nth, failures);
                let (from, to) = (inputs(&world), world.files().join("to"));
                let (ctx, inner) = ((*world).clone(), to.clone());
                let outcome = within_deadline(move || program(&ctx, &from, &inner));
                let hit = times(&world, point, Kind::Io);
                struck += hit;
                match outcome {
                    Ok(read) => assert_eq!(read, expected, "number {nth} of {point}, {failures} failures"),
                    Err(error) => {
                        failed += 1;
                        assert!(hit == 1 && failures == 1, "number {nth} of {point}: {error}");
                        let text = error.to_string();
                        assert!(text.contains("a fault on purpose: io at"), "number {nth} of {point}: {text}");
                    }
                }
                assert!(outputs(&to).iter().all(|(_, is_complete)| *is_complete), "{point} {nth}: {:?}", outputs(&to));
                for application in fs::read_dir(to.join("checkpoints")).into_iter().flatten() {
                    for checkpoint in names_in(&application.unwrap().path()) {
                        assert!(checkpoint.starts_with("rdd-"), "{checkpoint} is left, unfinished");
                    }
                }
                // Whoever has not struck yet strikes later.
                if hit > 0 {
                    ends_well(world);
                }
            }
            if struck == before {
                // There is no n-th one any more.
                break;
            }
        }
        println!("{point}: {struck} struck, {failed} of them an error");
        assert!(struck >= 2, "{point} was never struck");
    }
}
