import type { Command } from 'commander';
import { PRESET_NAMES } from '../policy/presets.ts';
import { SERVICES } from '../services/catalogue.ts';

/** The shells that there are completions for. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

const SERVICE_NAMES = SERVICES.map(({ name }) => name);

/** What an argument of a name may be; `words` is a sandbox, what belongs to it, or both. */
const WORDS: Readonly<Record<string, readonly string[]>> = {
  shell: SHELLS,
  preset: PRESET_NAMES,
  service: SERVICE_NAMES,
  words: SERVICE_NAMES,
  store: ['auto', 'keychain', 'file', 'memory'],
};
/** Arguments that may be the name of a sandbox. */
const NAMING: ReadonlySet<string> = new Set(['name', 'source', 'words']);

/** One option as completions see it. */
interface CompletedOption {
  readonly flags: readonly string[];
  readonly takesValue: boolean;
  readonly description: string;
}

/** One command as completions see it. */
export interface CompletedCommand {
  /** The words that lead to it: empty for the program itself. */
  readonly path: readonly string[];
  readonly description: string;
  readonly options: readonly CompletedOption[];
  readonly commands: readonly string[];
  /** Whether an argument is the name of a sandbox. */
  readonly takesName: boolean;
  /** What an argument may be, where that is a list. */
  readonly words: readonly string[];
  /** Whether what follows `--` is a command line of its own. */
  readonly runsCommand: boolean;
}

/** Commands whose words after `--` are a command's. */
const RUNNING = new Set(['run', 'exec']);

/** The tree of commands below `program`, itself first; what is hidden is left out. */
export function describeCommands(program: Command, path: readonly string[] = []): CompletedCommand[] {
  const help = program.createHelp();
  const children = help.visibleCommands(program).filter((child) => child.name() !== 'help');
  const options = help.visibleOptions(program).map(({ short, long, required, optional, description }) => ({
    flags: [short, long].filter((flag) => flag !== undefined && flag !== null),
    takesValue: required || optional,
    description,
  }));
  const own: CompletedCommand = {
    path,
    description: firstSentence(program.summary() || program.description()),
    options,
    commands: children.map((child) => child.name()),
    takesName: program.registeredArguments.some((argument) => NAMING.has(argument.name())),
    words: program.registeredArguments.flatMap((argument) => WORDS[argument.name()] ?? []),
    runsCommand: path.length === 1 && RUNNING.has(path[0] ?? ''),
  };
  return [own, ...children.flatMap((child) => describeCommands(child, [...path, child.name()]))];
}

function firstSentence(text: string): string {
  return text.split(/\.(?:\s|$)/)[0] ?? text;
}

/** The script that a shell reads. */
export function formatCompletion(shell: Shell, commands: readonly CompletedCommand[]): string {
  switch (shell) {
    case 'bash':
      return formatBash(commands);
    case 'zsh':
      return formatZsh(commands);
    case 'fish':
      return formatFish(commands);
    default:
      return shell satisfies never;
  }
}

const HEADER = '# Completions of sallyport; made by "sallyport completion".\n';

/** A word for a shell, whatever is in it. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

const flagsOf = ({ options }: CompletedCommand): string[] => options.flatMap(({ flags }) => flags);
const valueFlagsOf = ({ options }: CompletedCommand): string[] =>
  options.flatMap(({ flags, takesValue }) => (takesValue ? flags : []));

/** The command that the words so far lead to, by its path; then what may stand there. */
function formatBash(commands: readonly CompletedCommand[]): string {
  const branches = commands
    .map((command) => {
      const values = valueFlagsOf(command);
      return [
        `    ${quote(command.path.join(' '))})`,
        `      flags=${quote(flagsOf(command).join(' '))}`,
        `      values=${quote(` ${values.join(' ')} `)}`,
        `      words=${quote([...command.commands, ...command.words].join(' '))}`,
        `      names=${command.takesName ? '1' : ''}`,
        '      ;;',
      ].join('\n');
    })
    .join('\n');
  const known = commands.map(({ path }) => path.join(' ')).filter((path) => path !== '');
  return `${HEADER}_sallyport() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]}
  local known=${quote(`|${known.join('|')}|`)}
  local path='' word next index flags='' values='' words='' names=''
  COMPREPLY=()
  for ((index = 1; index < COMP_CWORD; index += 1)); do
    word=\${COMP_WORDS[index]}
    if [ "$word" = -- ]; then
      # What follows is a command line of its own.
      if declare -F _command_offset >/dev/null; then _command_offset $((index + 1))
      elif [ "$((index + 1))" = "$COMP_CWORD" ]; then COMPREPLY=($(compgen -c -- "$current"))
      else COMPREPLY=($(compgen -f -- "$current")); fi
      return
    fi
    next=\${path:+$path }$word
    case $known in *"|$next|"*) path=$next ;; esac
  done
  case $path in
${branches}
  esac
  case $values in *" $previous "*) COMPREPLY=($(compgen -f -- "$current")); return ;; esac
  case $current in
    -*) COMPREPLY=($(compgen -W "$flags" -- "$current")) ;;
    *)
      if [ -n "$names" ]; then words="$words $("\${COMP_WORDS[0]}" complete-names 2>/dev/null)"; fi
      COMPREPLY=($(compgen -W "$words" -- "$current"))
      ;;
  esac
}
complete -o default -F _sallyport sallyport
`;
}

function formatZsh(commands: readonly CompletedCommand[]): string {
  const describe = (name: string, description: string): string =>
    quote(`${name.replaceAll(':', '\\:')}:${description}`);
  const branches = commands
    .map((command) => {
      const children = command.commands.map((name) => {
        const child = commands.find(
          ({ path }) => path.length === command.path.length + 1 && path.join(' ') === [...command.path, name].join(' '),
        );
        return describe(name, child?.description ?? '');
      });
      const flags = command.options.flatMap(({ flags: names, description }) =>
        names.map((name) => describe(name, description)),
      );
      return [
        `    ${quote(command.path.join(' '))})`,
        `      flags=(${flags.join(' ')})`,
        `      values=(${valueFlagsOf(command).map(quote).join(' ')})`,
        `      choices=(${[...children, ...command.words.map(quote)].join(' ')})`,
        `      names=${command.takesName ? '1' : "''"}`,
        '      ;;',
      ].join('\n');
    })
    .join('\n');
  const known = commands.map(({ path }) => path.join(' ')).filter((path) => path !== '');
  return `#compdef sallyport
${HEADER}_sallyport() {
  local -a known flags values choices sandboxes
  local at='' word next names=''
  integer index
  known=(${known.map(quote).join(' ')})
  for ((index = 2; index < CURRENT; index += 1)); do
    word=\${words[index]}
    if [[ $word == -- ]]; then
      shift $index words
      ((CURRENT -= index))
      _normal
      return
    fi
    next=\${at:+$at }$word
    if ((\${known[(Ie)$next]})); then at=$next; fi
  done
  local program=\${words[1]} previous=\${words[CURRENT-1]} current=\${words[CURRENT]}
  case $at in
${branches}
  esac
  if ((\${values[(Ie)$previous]})); then
    _files
  elif [[ $current == -* ]]; then
    _describe option flags
  else
    if [[ -n $names ]]; then sandboxes=(\${(f)"$($program complete-names 2>/dev/null)"}); fi
    (($#sandboxes)) && _describe sandbox sandboxes
    (($#choices)) && _describe command choices
    (($#choices)) || _files
  fi
}
compdef _sallyport sallyport
`;
}

function formatFish(commands: readonly CompletedCommand[]): string {
  const lines = [HEADER, 'complete -c sallyport -f\n'];
  for (const { path, options, commands: children, takesName, words } of commands) {
    const seen = path.map((word) => `__fish_seen_subcommand_from ${word}`);
    const none = children.length > 0 ? [`not __fish_seen_subcommand_from ${children.join(' ')}`] : [];
    const condition = [...seen, ...none].join('; and ');
    const when = condition === '' ? '' : ` -n ${quote(condition)}`;
    for (const name of children) {
      const child = commands.find((each) => each.path.join(' ') === [...path, name].join(' '));
      lines.push(`complete -c sallyport${when} -a ${name} -d ${quoteFish(child?.description ?? '')}\n`);
    }
    if (words.length > 0) lines.push(`complete -c sallyport${when} -a ${quote(words.join(' '))}\n`);
    if (takesName) lines.push(`complete -c sallyport${when} -a '(sallyport complete-names 2>/dev/null)'\n`);
    for (const { flags, takesValue, description } of options) {
      const names = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
      lines.push(
        `complete -c sallyport${when} ${names.join(' ')}${takesValue ? ' -r -F' : ''} -d ${quoteFish(description)}\n`,
      );
    }
  }
  return lines.join('');
}

/** Inside single quotes fish knows two escapes. */
function quoteFish(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
