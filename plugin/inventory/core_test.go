package inventory

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/plugin/internal/published"
	"github.com/openpf9/openpf9/plugin/schema"
)

var update = flag.Bool("update", false, "rewrite the published schema")

func TestColumnsOfCoreKindsExist(t *testing.T) {
	seen := make(map[string]bool)
	for _, k := range Core() {
		if err := k.Validate(); err != nil {
			t.Error(err)
		}
		if seen[k.Name] {
			t.Errorf("%s is in the table twice", k.Name)
		}
		seen[k.Name] = true
		if !IsCore(k.Name) || reflect.TypeOf(Spec(k.Name)) != reflect.TypeOf(k.Spec) || reflect.TypeOf(k.Spec).Kind() != reflect.Struct {
			t.Errorf("%s: IsCore is %v and Spec a %T, want true and the struct of the table, %T", k.Name, IsCore(k.Name), Spec(k.Name), k.Spec)
		}
		for _, c := range k.Columns {
			if !reaches(reflect.TypeOf(k.Spec), strings.Split(c.Path, ".")) {
				t.Errorf("%s: no member at the path %s of column %s", k.Name, c.Path, c.Name)
			}
		}
	}
	if IsCore("com.acme.lun") || Spec("com.acme.lun") != nil {
		t.Error("com.acme.lun is of the core")
	}
}

// Each constant of a kind has its line in the table.
func TestEveryKindIsInTheTable(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	constants := 0
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(s.Names[0].Name, "Kind") {
				return true
			}
			constants++
			kind, err := strconv.Unquote(s.Values[0].(*ast.BasicLit).Value)
			if err != nil || !IsCore(kind) {
				t.Errorf("%s is not in the table", s.Names[0].Name)
			}
			return true
		})
	}
	if constants != len(Core()) {
		t.Errorf("%d constants, %d kinds in the table", constants, len(Core()))
	}
}

// reaches follows a column's path through a type.
func reaches(t reflect.Type, path []string) bool {
	if t.Kind() == reflect.Pointer {
		return reaches(t.Elem(), path)
	}
	if len(path) == 0 {
		return t.Kind() != reflect.Struct && (t.Kind() != reflect.Slice || t.Elem().Kind() == reflect.String)
	}
	switch t.Kind() {
	case reflect.Slice:
		_, err := strconv.Atoi(path[0])
		return err == nil && reaches(t.Elem(), path[1:])
	case reflect.Struct:
		for i := range t.NumField() {
			if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name == path[0] {
				return reaches(t.Field(i).Type, path[1:])
			}
		}
	}
	return false
}

func TestPublishedSchemaIsOfTheseTypes(t *testing.T) {
	s := &schema.Schema{
		Dialect: schema.Dialect, Title: "The specs of openpf9's core kinds",
		Description: "Each property is the JSON Schema of the kind's spec.",
		Type:        schema.Types{"object"}, Properties: make(map[string]*schema.Schema),
	}
	for _, k := range Core() {
		s.Properties[k.Name] = schema.Of(k.Spec)
	}
	if err := published.Hold("../../docs/inventory.schema.json", s, *update); err != nil {
		t.Errorf("%v: run go test ./plugin/inventory -update", err)
	}
}
