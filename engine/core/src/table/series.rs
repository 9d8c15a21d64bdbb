//! The series of one shard: for each the line that its puts touch, and its description.

use std::sync::Arc;

use crate::history::chunks::Chunks;
use crate::history::{History, Stage};
use crate::reading::Series;

/// What a put reads and writes of its series; with a `W` of 24 bytes one line of the cache.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Line<W> {
    pub(super) history: History,
    pub(super) hung: W,
}

/// A line and its stage, in a pair of lines that the core loads together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Pair<W> {
    line: Line<W>,
    stage: Stage,
}

/// Where nothing but the latest is kept, there are no stages.
#[derive(Debug)]
enum Lines<W> {
    Alone(Chunks<Line<W>>, Stage),
    Pairs(Chunks<Pair<W>>),
}

/// Series by number. Those that are not in use have an empty line and the vacant description.
#[derive(Debug)]
pub(super) struct SeriesList<W> {
    lines: Lines<W>,
    /// Apart from the lines: a put hands on where its description is, and need not load it.
    series: Vec<Arc<Series>>,
}

impl<W: Default> SeriesList<W> {
    pub(super) fn new(latest_alone: bool) -> Self {
        let lines = if latest_alone {
            Lines::Alone(Chunks::default(), Stage::default())
        } else {
            Lines::Pairs(Chunks::default())
        };
        Self { lines, series: Vec::new() }
    }

    /// Puts a series where none is in use, in the list or right behind its end.
    pub(super) fn set(&mut self, at: usize, series: Arc<Series>) {
        match self.series.get_mut(at) {
            Some(vacant) => *vacant = series,
            None => {
                self.grow_lines(at + 1);
                self.series.push(series);
            }
        }
    }

    fn grow_lines(&mut self, length: usize) {
        match &mut self.lines {
            Lines::Alone(lines, _) => lines.grow(length),
            Lines::Pairs(pairs) => pairs.grow(length),
        }
    }

    /// Makes room for `length` series.
    pub(super) fn grow(&mut self, length: usize, vacant: &Arc<Series>) {
        self.grow_lines(length);
        self.series.resize_with(self.series.len().max(length), || vacant.clone());
    }

    /// Moves a series to a place that is not in use.
    pub(super) fn relocate(&mut self, from: usize, to: usize) {
        self.series.swap(from, to);
        match &mut self.lines {
            Lines::Alone(lines, _) => lines[to] = std::mem::take(&mut lines[from]),
            Lines::Pairs(pairs) => pairs[to] = std::mem::take(&mut pairs[from]),
        }
    }
}

impl<W> SeriesList<W> {
    /// The line and stage, where there is room for that series.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<(&Line<W>, &Stage)> {
        match &self.lines {
            Lines::Alone(lines, stage) => lines.get(at).map(|line| (line, stage)),
            Lines::Pairs(pairs) => pairs.get(at).map(|pair| (&pair.line, &pair.stage)),
        }
    }

    #[inline]
    pub(super) fn line(&self, at: usize) -> (&Line<W>, &Stage) {
        match &self.lines {
            Lines::Alone(lines, stage) => (&lines[at], stage),
            Lines::Pairs(pairs) => (&pairs[at].line, &pairs[at].stage),
        }
    }

    #[inline]
    pub(super) fn series(&self, at: usize) -> &Arc<Series> {
        &self.series[at]
    }

    pub(super) fn series_mut(&mut self, at: usize) -> &mut Arc<Series> {
        &mut self.series[at]
    }

    #[inline]
    pub(super) fn all(&mut self, at: usize) -> (&mut Line<W>, &mut Stage, &Arc<Series>) {
        match &mut self.lines {
            Lines::Alone(lines, stage) => (&mut lines[at], stage, &self.series[at]),
            Lines::Pairs(pairs) => {
                let pair = &mut pairs[at];
                (&mut pair.line, &mut pair.stage, &self.series[at])
            }
        }
    }
}
