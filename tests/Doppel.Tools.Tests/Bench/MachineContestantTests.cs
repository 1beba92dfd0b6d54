using Doppel.Bench;

namespace Doppel.Tools.Tests.Bench;

/// <summary>Shell scripts stand in for the VMM: each prints what a guest would, with the kernel's command line as $1.</summary>
public sealed class MachineContestantTests : IDisposable
{
    private readonly string _logs = Directory.CreateTempSubdirectory("doppel-bench-test").FullName;

    private static Row Alu => Row.All.Single(row => row.Name == "alu");

    private static Row Fib => Row.All.Single(row => row.Name == "fib");

    public void Dispose() => Directory.Delete(_logs, recursive: true);

    [Fact]
    public async Task A_guest_that_answers_gives_samples_for_boot_and_rows()
    {
        IReadOnlyList<Sample> samples = await RunAsync(
            """
            echo @bench ready
            echo @bench start alu
            echo "[   1.2] noise @bench result alu 64 6400 aa"
            echo @bench done
            """,
            [Alu, Row.Boot]);
        Assert.Equal([Row.BootName, "alu"], samples.Select(s => s.Row));
        Assert.All(samples, s => Assert.Null(s.Failure));
        Assert.Equal(100, samples[1].NanosecondsEach);
    }

    [Fact]
    public async Task A_guest_that_dies_fails_one_row_and_the_next_runs_in_a_new_machine()
    {
        IReadOnlyList<Sample> samples = await RunAsync(
            """
            echo @bench ready
            case $1 in
            *alu*) echo @bench start alu; echo Kernel panic; exit 7 ;;
            esac
            echo @bench start fib
            echo @bench result fib 80 80 bb
            echo @bench done
            """,
            [Alu, Fib]);
        Assert.Equal(["alu", "fib"], samples.Select(s => s.Row));
        Assert.Contains("status 7", samples[0].Failure, StringComparison.Ordinal);
        Assert.Contains("Kernel panic", samples[0].Failure, StringComparison.Ordinal);
        Assert.Equal("bb", samples[1].Check);
    }

    [Fact]
    public async Task A_guest_that_hangs_is_killed_and_failed()
    {
        IReadOnlyList<Sample> samples = await RunAsync(
            """
            echo @bench ready
            echo @bench start alu
            cat
            """,
            [Alu],
            new Limits(TimeSpan.FromMinutes(1), TimeSpan.FromSeconds(1)));
        Assert.Contains("no answer in 1 s", Assert.Single(samples).Failure, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_guest_that_resets_is_failed_and_not_waited_for()
    {
        IReadOnlyList<Sample> samples = await RunAsync(
            """
            echo @bench ready
            echo @bench start alu
            echo @bench ready
            cat
            """,
            [Alu]);
        Assert.Equal("the guest started again", Assert.Single(samples).Failure);
    }

    [Fact]
    public async Task Every_row_of_a_guest_that_does_not_boot_is_failed()
    {
        IReadOnlyList<Sample> samples = await RunAsync("exit 3", [Alu, Fib, Row.Boot]);
        Assert.Equal(3, samples.Count);
        Assert.All(samples, s => Assert.Contains("status 3", s.Failure, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_result_for_another_count_is_no_result()
    {
        IReadOnlyList<Sample> samples = await RunAsync(
            """
            echo @bench ready
            echo @bench start alu
            echo @bench result alu 1 5 aa
            """,
            [Alu]);
        Assert.NotNull(Assert.Single(samples).Failure);
    }

    [Fact]
    public async Task A_whole_system_has_booted_when_it_asks_who_logs_in()
    {
        const string System = """
            echo "[  OK  ] Reached target"
            printf 'debian login: '
            exec cat
            """;
        Sample sample = Assert.Single(await RunAsync("exit 3", [Row.System], system: System));
        Assert.Equal(Row.System.Name, sample.Row);
        Assert.Null(sample.Failure);
    }

    [Fact]
    public async Task A_whole_system_that_ends_before_its_login_prompt_is_failed()
    {
        Sample sample = Assert.Single(await RunAsync("exit 3", [Row.System], system: "echo Kernel panic; exit 7"));
        Assert.Contains("status 7", sample.Failure, StringComparison.Ordinal);
        Assert.Contains("Kernel panic", sample.Failure, StringComparison.Ordinal);
    }

    private Task<IReadOnlyList<Sample>> RunAsync(string script, IReadOnlyList<Row> rows, Limits? limits = null, string? system = null)
    {
        var contestant = new MachineContestant(
            "script", "/bin/sh", append => ["-c", script, "sh", append], 1, limits ?? new Limits(TimeSpan.FromMinutes(1), TimeSpan.FromMinutes(1)), _logs,
            system is null ? null : ["-c", system]);
        return contestant.RunAsync(rows, 1, CancellationToken.None);
    }
}
