package vcproxy

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

// schemaMethods reads the names of all methods from the sources of govmomi: each
// has a struct whose field says how its request is called.
func schemaMethods(t *testing.T, space string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/vmware/govmomi").Output()
	if err != nil {
		t.Fatalf("find govmomi: %v", err)
	}
	dir := map[string]string{nsVim: "vim25", nsPBM: "pbm"}[space]
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), dir, "methods", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("govmomi has no sources of methods: %v", err)
	}
	names := make(map[string]bool)
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			f, ok := n.(*ast.Field)
			if !ok || f.Tag == nil || len(f.Names) != 1 || f.Names[0].Name != "Req" {
				return true
			}
			tag, err := strconv.Unquote(f.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			name, _, _ := strings.Cut(reflect.StructTag(tag).Get("xml"), ",")
			if name, ok = strings.CutPrefix(name, space+" "); ok {
				names[name] = true
			}
			return true
		})
	}
	return slices.Sorted(maps.Keys(names))
}

func TestEveryMethodIsDecidedOnce(t *testing.T) {
	var list strings.Builder
	for _, space := range []string{nsVim, nsPBM} {
		all := schemaMethods(t, space)
		if space == nsVim && len(all) < 950 {
			t.Fatalf("found %d methods of %s, want nearly a thousand", len(all), space)
		}
		by := make(map[class][]string)
		for _, m := range all {
			by[decide(space, m).class] = append(by[decide(space, m).class], m)
		}
		for m := range map[string]map[string]rule{nsVim: vimRules, nsPBM: pbmRules}[space] {
			if !slices.Contains(all, m) {
				t.Errorf("the table has %s, which is no method of %s", m, space)
			}
		}
		for _, class := range slices.Sorted(maps.Keys(by)) {
			list.WriteString("# " + space + " " + string(class) + "\n" + strings.Join(by[class], "\n") + "\n")
		}
	}
	golden := filepath.Join("testdata", "methods.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(list.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), list.String()); diff != "" {
		t.Errorf("the decisions changed; look at each and run with -update (-was +is):\n%s", diff)
	}
}

// Some methods must never be let through, whatever else changes.
func TestWhatIsNeverAllowed(t *testing.T) {
	for _, m := range []string{
		"AcquireCloneTicket", "CloneSession", "ImpersonateUser", "LoginByToken", "LoginBySSPI", "LoginExtensionByCertificate",
		"LoginExtensionBySubjectName", "SetEntityPermissions", "RemoveEntityPermission", "ResetEntityPermissions", "MergePermissions",
		"AddAuthorizationRole", "UpdateAuthorizationRole", "RemoveAuthorizationRole", "RetrieveEntityPermissions", "UpdateOptions",
		"QueryOptions", "UnregisterExtension", "UpdateExtension", "SetExtensionCertificate", "StartProgramInGuest",
		"InitiateFileTransferToGuest", "InitiateFileTransferFromGuest", "AcquireCredentialsInGuest", "EnterMaintenanceMode_Task",
		"RebootHost_Task", "ShutdownHost_Task", "DisconnectHost_Task", "StartService", "UpdateServicePolicy", "AddLicense",
		"ReconfigureDvs_Task", "ReconfigureDVPortgroup_Task", "ReconfigureCluster_Task", "AcquireLocalTicket", "AcquireCimServicesTicket",
		"HttpNfcLeasePullFromUrls_Task", "HttpNfcLeaseProbeUrls", "DestroyDatastore", "RemoveDatastore", "PutUsbScanCodes",
		"RegisterVM_Task", "AttachDisk_Task", "CreateDisk_Task", "RegisterDisk",
	} {
		if got := decide(nsVim, m).class; got != classDenied {
			t.Errorf("%s is of class %s, want denied", m, got)
		}
	}
	for _, m := range []string{"PbmCreate", "PbmUpdate", "PbmDelete", "PbmAssignDefaultRequirementProfile"} {
		if got := decide(nsPBM, m).class; got != classDenied {
			t.Errorf("%s is of class %s, want denied", m, got)
		}
	}
}
